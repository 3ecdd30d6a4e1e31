"""A signal that Python would swallow comes again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SWALLOWED = """
import os, signal, time
from pipelines.interrupt import listen

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.{signal})
        time.sleep(0.1)

listen()
try:
    Last()
    print("carried on", flush=True)
    time.sleep(60)
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""

OTHERS = """
from pipelines.interrupt import listen

class Last:
    def __del__(self):
        {raising}

listen()
Last()
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, cwd=ROOT, check=True
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_in_a_destructor_comes_again_and_nothing_is_said_of_it(name: str) -> None:
    done = _run(SWALLOWED.format(signal=name))
    assert done.stdout.split("\n")[:2] == ["carried on", "interrupted"]
    assert done.stderr == ""


@pytest.mark.parametrize("raising", ["1 / 0", "raise KeyboardInterrupt"], ids=["error", "no signal"])
def test_what_no_signal_raised_is_told_as_ever(raising: str) -> None:
    assert "Exception ignored in" in _run(OTHERS.format(raising=raising)).stderr
