"""Runs the demo as a user does, for the tests of both tiers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pipelines.demo_results import Summary

__all__ = ["demo_command", "run_demo"]


def demo_command(out: Path, *, seed: int = 0, knobs: Mapping[str, object] | None = None) -> list[str]:
    """The command line of a demo that writes to `out`."""
    pairs = [f"--set={name}={value}" for name, value in (knobs or {}).items()]
    mlops = Path(sys.executable).with_name("mlops")
    return [str(mlops), "demo", "--json", f"--out={out}", f"--seed={seed}", *pairs]


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    knobs: Mapping[str, object] | None = None,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Summary:
    """Run the demo to its end, and return the summary that it printed, which is the one that it wrote."""
    done = subprocess.run(
        [*prefix, *demo_command(out, seed=seed, knobs=knobs)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **(env or {})},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert msgspec.json.decode(done.stdout) == msgspec.json.decode((out / "summary.json").read_bytes())
    return msgspec.json.decode(done.stdout, type=Summary)
