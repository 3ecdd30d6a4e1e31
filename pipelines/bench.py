"""Benchmarks: what a command costs in time and memory, measured from outside, written as JSON."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil

from mlops.errors import MlopsError
from mlops.storage import write_json
from pipelines.demo_results import Summary

__all__ = ["DemoBench", "bench_demo"]

_EVERY_S = 0.5


class DemoBench(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo took. Memory is the sum over all of its processes; pages that they share count once on Linux.

    `load_before` is the load average of the last minute before it began: above 0.5 a time is not to be trusted.
    """

    wall_seconds: float
    peak_gib: float
    processes: int
    cores: int
    load_before: float
    stage_seconds: dict[str, float]


def bench_demo(folder: Path) -> DemoBench:
    """Run the demo in `folder`/demo and write `folder`/demo.json.

    Raises:
        MlopsError: the demo failed; it has said why on standard error.
    """
    load = os.getloadavg()[0]
    started = time.monotonic()
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "demo", "--json"]
    peak = most = 0
    with subprocess.Popen([*command, f"--out={folder / 'demo'}"], stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            memory = _memory(process.pid)
            peak, most = max(peak, sum(memory)), max(most, len(memory))
            time.sleep(_EVERY_S)
        wall = time.monotonic() - started
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise MlopsError(f"the demo ended with {process.returncode}", where=folder / "demo")
    result = DemoBench(
        wall_seconds=round(wall, 1),
        peak_gib=round(peak / 2**30, 2),
        processes=most,
        cores=os.cpu_count() or 1,
        load_before=round(load, 2),
        stage_seconds=msgspec.json.decode(printed, type=Summary).stage_seconds,
    )
    write_json(folder / "demo.json", result)
    return result


def _memory(pid: int) -> list[int]:
    """Bytes of each process of the tree."""
    found = []
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            info = process.memory_full_info()
            found.append(getattr(info, "pss", info.rss))
    except psutil.NoSuchProcess:
        pass  # ended while we looked
    return found
