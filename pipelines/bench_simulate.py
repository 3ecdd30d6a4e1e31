"""What the simulator costs: the published world by one process, ten times as many events by Spark's workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import psutil

from mlops.errors import MlopsError
from mlops.storage import write_json

__all__ = ["SimulateBench", "bench_simulate"]

_EVERY_S = 0.1
_TEN_TIMES = ("days=1830",)


class SimulateBench(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of the whole command, the start of Python and Spark included.

    Peaks of resident memory while Spark's workers wrote, in GiB: of the Python process that drives, of its Java
    process, and of all the workers that they start.
    """

    events: int
    seconds: float
    spark_events: int
    spark_seconds: float
    driver_python_gib: float
    driver_java_gib: float
    workers_gib: float
    cores: int
    load_before: float


def bench_simulate(folder: Path) -> SimulateBench:
    """Simulate into `folder`/world, which is removed, and write `folder`/simulate.json.

    Raises:
        MlopsError: a command failed; it has said why on standard error.
    """
    load = os.getloadavg()[0]
    events, seconds, _ = _simulate(folder / "world")
    spark_events, spark_seconds, peak = _simulate(folder / "world", *_TEN_TIMES, spark=True)
    result = SimulateBench(
        events=events,
        seconds=round(seconds, 1),
        spark_events=spark_events,
        spark_seconds=round(spark_seconds, 1),
        driver_python_gib=round(peak["driver"] / 2**30, 2),
        driver_java_gib=round(peak["java"] / 2**30, 2),
        workers_gib=round(peak["workers"] / 2**30, 2),
        cores=os.cpu_count() or 1,
        load_before=round(load, 2),
    )
    write_json(folder / "simulate.json", result)
    return result


class _Written(msgspec.Struct):
    events: int


def _simulate(out: Path, *knobs: str, spark: bool = False) -> tuple[int, float, Counter[str]]:
    """Run the command; events, seconds, and the peak of memory by kind of process."""
    line = [sys.executable, "-c", "from pipelines.cli import main; main()", "simulate", str(out), "--json"]
    line += [word for knob in knobs for word in ("--set", knob)] + ["--spark"] * spark
    started, peak = time.monotonic(), Counter[str]()
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            peak |= _memory(process.pid)
            time.sleep(_EVERY_S)
        seconds = time.monotonic() - started
        assert process.stdout is not None
        printed = process.stdout.read()
    shutil.rmtree(out, ignore_errors=True)
    if process.returncode:
        raise MlopsError(f"mlops simulate ended with {process.returncode}", where=out)
    return msgspec.json.decode(printed, type=_Written).events, seconds, peak


def _memory(driver: int) -> Counter[str]:
    """Bytes by kind of process."""
    found: Counter[str] = Counter()
    try:
        root = psutil.Process(driver)
        for process in (root, *root.children(recursive=True)):
            kind = "driver" if process == root else "java" if "java" in process.name() else "workers"
            found[kind] += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # ended while we looked
    return found
