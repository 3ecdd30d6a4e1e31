"""A flow with a step that waits for Java for ever, and then one that is for ever in native code; to be run as a module.

It says how it gets on. The last step is not to return, nor to let anything be said after it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from prefect import flow
from prefect.tasks import Task

from mlops.settings import Settings
from pipelines import prefect_tasks, spark
from pipelines.prefect_tasks import as_task
from tests.system.prefect_house import wait

__all__ = ["in_java", "in_native_code", "late"]

_LIMIT_S = 5


def in_java(home: str) -> None:
    """The first try waits for Spark, and that for a process of Python, which sleeps. The second has nothing to do."""
    worker = Path(home) / "worker"

    def sleep(_: int) -> None:
        worker.write_text(str(os.getpid()))
        time.sleep(3600)

    _say("tried")
    if not worker.exists():
        spark.session(_settings(home)).sparkContext.parallelize([0], 1).foreach(sleep)


def in_native_code(home: str) -> None:
    """Hears no signal, and lets no other thread of Python run."""
    _say("in native code")
    sum(range(10**18))


@flow(persist_result=False)
def late(home: str) -> None:
    """Run the two."""

    def limited(fn: Callable[..., Any]) -> Task[..., Any]:
        step = as_task(fn, hours=_LIMIT_S / 3600)
        return step.with_options(result_storage=Path(home) / "results", retry_delay_seconds=0)

    # Before the clock runs, so that the step is sure to be in the middle when its time is over.
    spark.session(_settings(home)).sparkContext.parallelize([0], 1).foreach(id)
    first = {process.pid for process in psutil.Process().children(recursive=True)}
    limited(in_java)(home)
    first |= {int((Path(home) / "worker").read_text())}
    wait(lambda: not any(map(psutil.pid_exists, first)), within_s=120, what=lambda: f"one of {first} is left")
    _say("nothing of the first try is left")
    _say(f"another Java counts to {spark.session(_settings(home)).range(3).count()}")
    prefect_tasks._GRACE_S = 2
    limited(in_native_code)(home)


def _settings(home: str) -> Settings:
    return Settings(home=Path(home), spark_master="local[1]", spark_memory="512m")


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    late(sys.argv[1])
