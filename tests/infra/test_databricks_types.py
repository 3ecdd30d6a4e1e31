"""The Databricks bundle and the typed resources of Databricks' own package, in an environment of its own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.infra.bundle import TARGETS, load, resolved
from tests.serving.protocols.environments import installed, said_by

pytestmark = pytest.mark.system
HERE = Path(__file__).parent
SCRIPT = HERE / "databricks_types.py"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lock = HERE / "lock" / "databricks-bundles.txt"
    return installed(tmp_path_factory.mktemp("databricks") / "venv", lock)


def test_every_resource_is_what_databricks_own_types_make_of_it(python: Path) -> None:
    bundle = load()
    for resources in (bundle["resources"], *(resolved(bundle, target) for target in TARGETS)):
        assert said_by(python, SCRIPT, send=resources) == []


def test_what_is_not_of_these_types_is_found(python: Path) -> None:
    resources = copy.deepcopy(load()["resources"])
    resources["jobs"]["features"]["max_concurrent"] = 1
    resources["jobs"]["training"]["tasks"][3]["run_if"] = "ONE_SUCCESS"
    resources["volumes"]["home"]["volume_type"] = "LOCAL"
    found = said_by(python, SCRIPT, send=resources)
    assert [each.partition(":")[0] for each in sorted(found)] == [
        "jobs.features",
        "jobs.training",
        "volumes.home",
    ]
