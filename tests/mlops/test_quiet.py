"""Nothing phones home: the switches are set, and what would keep a device id writes none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops.quiet import SWITCHES, telemetry_off


def test_switches_are_set_but_for_those_that_are_set_already() -> None:
    env = {"DO_NOT_TRACK": "false"}
    telemetry_off(env)
    assert env == {**SWITCHES, "DO_NOT_TRACK": "false"}


def test_whoever_wants_telemetry_gets_the_libraries_own_defaults() -> None:
    env = {"MLOPS_TELEMETRY": "on"}
    telemetry_off(env)
    assert env == {"MLOPS_TELEMETRY": "on"}


@pytest.mark.parametrize("module", ["mlops.model", "serving.app", "training.parity"])
def test_importing_onnx_runtime_leaves_no_trace(tmp_path: Path, module: str) -> None:
    """Switched on, it writes a device id below HOME and a session id into TMPDIR as soon as it is imported."""
    env = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    env |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", f"import {module}"], env=env, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
