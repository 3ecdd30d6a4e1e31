"""infra/vertex/deploy.py, run again and again; its requests are tests/serving/protocols/test_platform_clients.py's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.protocols.environments import installed, said_by

pytestmark = pytest.mark.system  # Google's client is installed

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "infra" / "vertex" / "deploy.py"


def test_run_again_it_changes_nothing_and_another_image_takes_the_place_of_the_first(tmp_path: Path) -> None:
    python, (first, second) = (
        installed(tmp_path / "clients"),
        ("registry/it@sha256:1", "registry/it@sha256:2"),
    )
    said = said_by(python, HERE / "vertex_twice.py", SCRIPT, first, second)
    assert said == [
        [first, ["upload", "create", "deploy"]],
        [first, []],
        [second, ["upload", "deploy", "undeploy"]],
        [first, ["deploy", "undeploy"]],  # its model is there still
    ]
