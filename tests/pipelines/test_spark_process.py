"""A start of Spark that is given up leaves no Java behind, and nobody waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

# As a Java that is slow to come up, or never does; it says its process id.
NEVER_UP = """#!/bin/sh
echo $$
exec sleep 600
"""

INTERRUPTED = """
from mlops.settings import Settings
from pipelines.interrupt import listen
from pipelines.spark import session

listen()
session(Settings())
"""


@pytest.mark.parametrize(
    "words",
    [("-c", INTERRUPTED), ("-m", "pipelines", "demo", "--out", "demo")],
    ids=["in the main thread", "beside Prefect's"],
)
def test_who_is_told_to_end_ends_a_java_that_is_not_up(words: tuple[str, ...], tmp_path: Path) -> None:
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text(NEVER_UP)
    submit.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"SPARK_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        java = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert not psutil.pid_exists(java)
    finally:
        process.kill()
