"""Environments for packages whose pins, or licences, and the platform's do not meet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["CLIENTS", "installed", "said_by"]

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
_LOCK = HERE / "lock" / "clients.txt"
_QUIET = {"SAGEMAKER_SUPPRESS_V2_WARNING": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}


def installed(folder: Path, lock: Path = _LOCK) -> Path:
    """The interpreter of an environment made in `folder`, with what `lock` holds: platforms' clients, unless given."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv is not None
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], timeout=60, check=True)
    python = folder / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock]
    subprocess.run(install, timeout=280, check=True)
    return python


def said_by(python: Path, script: Path, *arguments: object, send: object = None) -> Any:
    """What a script prints as JSON, in an environment; `send` is its standard input, as JSON."""
    run = subprocess.run(
        [python, script, *map(str, arguments)],
        input=msgspec.json.encode(send),
        env=os.environ | _QUIET,
        capture_output=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr.decode()[-4000:]
    return msgspec.json.decode(run.stdout)
