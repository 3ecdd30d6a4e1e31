"""Spark's workers write the simulated world as one process would, and all of it or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

from mlops.errors import InputError
from mlops.settings import Settings
from mlops.storage import is_leftover
from pipelines.simulate import simulate, spark_map

KNOBS = {
    "customers": 200,
    "days": 25,
    "change": "new-pattern",
    "change_day": 15,
    "fraud_waves": [{"first_day": 5, "days": 5, "factor": 30}],
    "new_terminals": 100,
    "late_events": 0.1,
    "defects": 0.05,
}


def test_spark_writes_the_same_bytes(spark: SparkSession, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    result = simulate(settings, KNOBS, ours)
    assert simulate(settings, KNOBS, theirs, on_spark=True).events == result.events
    assert {p.name: p.read_bytes() for p in ours.iterdir()} == {
        p.name: p.read_bytes() for p in theirs.iterdir()
    }


def test_tasks_run_outside_of_the_driver_and_come_back_in_order(spark: SparkSession) -> None:
    parents = spark_map(spark)(lambda task: (task, os.getpid()), [range(n, n + 1) for n in range(8)])
    assert [task.start for task, _ in parents] == list(range(8))
    assert os.getpid() not in {pid for _, pid in parents}


def test_what_is_refused_is_refused_before_spark_starts_to_write(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        simulate(Settings(home=tmp_path), KNOBS, tmp_path, on_spark=True)


def test_a_killed_driver_leaves_no_folder_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "world"
    command = [Path(sys.executable).with_name("mlops"), "simulate", out, "--spark"]
    knobs = ["--set", "customers=500", "--set", "days=3000"]
    with subprocess.Popen(
        [*command, *knobs],
        env=os.environ | {"MLOPS_SPARK_MEMORY": "1g", "MLOPS_HOME": str(tmp_path / "home")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as driver:
        try:
            limit = time.monotonic() + 120
            while not any(tmp_path.glob(".tmp-*/*.parquet")):
                assert driver.poll() is None
                assert time.monotonic() < limit
                time.sleep(0.05)
            children = psutil.Process(driver.pid).children(recursive=True)
        finally:
            driver.send_signal(signal.SIGKILL)
    assert len(children) >= 2  # Java and Python workers
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert all(is_leftover(path) for path in tmp_path.iterdir() if path.name != "home")
