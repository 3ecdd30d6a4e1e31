"""The pipeline image, built with Spark and without the frameworks, for time's sake: one step runs in it.

tests/prove/test_pipeline_image.py builds the whole.
"""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from docker.models.images import Image

from infra.supply.sbom import sbom
from tests.system.containers import LARGE, copied, pipeline_on_spark, ran, scratch
from tests.system.image_files import files, installed, left_over, rights, tools

pytestmark = [pytest.mark.system, pytest.mark.containers, pytest.mark.timeout(900)]

WORLD = ["--set", "customers=50", "--set", "terminals=20", "--set", "days=30"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of the same file, from what is left of the lock."""
    return pipeline_on_spark(copied(tmp_path_factory.mktemp("tree")))


@pytest.mark.parametrize("user", [None, "1000650000:0"])
def test_features_are_computed_on_spark_without_rights_on_a_root_that_cannot_be_written(
    image: Image, user: str | None
) -> None:
    steps = f"mlops simulate {' '.join(WORLD)} /tmp/events; mlops ingest --events /tmp/events; mlops features --json"
    said = ran(image, ["sh", "-ec", f"id -u; {steps}"], user=user, tmpfs=scratch())
    assert said.splitlines()[0] == (user or "10001").partition(":")[0]
    assert '"unlabelled":0' in said and "Traceback" not in said


def test_it_says_what_it_is_and_nothing_in_it_compiles_or_gives_rights_or_is_of_no_use(image: Image) -> None:
    assert image.labels["org.opencontainers.image.title"] == "mlops-pipeline"
    assert image.labels["org.opencontainers.image.version"] == "0.1.0"
    assert image.attrs["Config"]["User"] == "10001:10001"
    found = files(image)
    # What the lock has, as libraries ask for it.
    locked = {"bin/wheel", *(f"lib/python3.11/site-packages/{name}" for name in ("setuptools", "wheel"))}
    assert tools(found) == {f"/opt/mlops/{path}" for path in locked}
    assert left_over(found) == set()
    assert rights(found, 10001) == (set(), {"/mlops", "/mlops/home"})


def test_the_packages_in_it_are_those_of_its_bill_of_materials(image: Image) -> None:
    bill = sbom("pipeline", ran(image, ["cat", "/var/lib/dpkg/status"]))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    named = {f"{part['name']} {part['version']}" for part in bill["components"] if "pkg:pypi" in part["purl"]}
    left_out = {line for line in named if line.split()[0] in LARGE | {"torch"}}
    assert installed(image) == named - left_out
