"""infra/vertex/deploy.py, run again and again; its requests are tests/serving/protocols/test_platform_clients.py's."""

from __future__ import annotations

import os
import subprocess
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


def test_without_google_s_credentials_it_ends_in_one_line(tmp_path: Path) -> None:
    given = ("--project", "p", "--location", "europe-west4", "--image", "registry/it@sha256:1")
    ran = subprocess.run(
        [installed(tmp_path / "clients"), SCRIPT, *given],
        env={"PATH": os.environ["PATH"], "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 2
    (line,) = [line for line in ran.stderr.splitlines() if "Warning" not in line and not line.startswith(" ")]
    assert line.startswith("Google: ") and "none.json" in line
