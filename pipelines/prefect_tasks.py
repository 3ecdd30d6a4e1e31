"""The lifecycle's steps as Prefect's tasks: how often each is tried, how long it may take, and what is kept of it.

A step that is over its time is interrupted, and what it waits for in Java is killed; then it is tried again. One that
does not hear it, as native code may not, has a minute more; then its process ends, as if that had been killed.
"""

from __future__ import annotations

import faulthandler
import warnings
from collections.abc import Callable
from datetime import timedelta
from threading import Timer
from typing import Any

import psutil
from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from mlops.errors import MlopsError, SetupError
from mlops.settings import Settings
from monitoring.rules import close_request
from pipelines import lifecycle, retrain, spark, watching
from pipelines import prefect_artifacts as artifacts
from pipelines.prefect_results import JsonResults, OncePerRun
from pipelines.workers import as_worker

__all__ = ["RETRIES", "TASKS", "as_task", "step"]

RETRIES = 2
_FIRST_DELAY_S = 10  # and twice as long before the next
_GRACE_S = 60  # longer than the delay before another try
_KEPT = "prefect/results"


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether another try may end otherwise: what the platform refuses it would refuse again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SetupError) or not isinstance(error, MlopsError)


_java_time = Timer(0, print)  # of the step that runs in this process


def _begin(step: Task[..., Any], run: TaskRun, _: State[Any]) -> None:
    """Before each try: set the clocks for what does not end when Prefect says so."""
    global _java_time
    _java_time.cancel()
    as_worker()
    if run.run_count > 1:
        _end_java()
    limit = float(step.timeout_seconds or 0)
    _java_time = Timer(limit, _kill_java)
    _java_time.daemon = True
    _java_time.start()
    faulthandler.dump_traceback_later(limit + _GRACE_S, exit=True)


def _end(*_: Any) -> None:
    _java_time.cancel()
    faulthandler.cancel_dump_traceback_later()


def _kill_java() -> None:
    """Python that was interrupted while it waited for Java says so to Java, and waits again."""
    for child in psutil.Process().children():
        if child.name() == "java":
            child.kill()


def _end_java() -> None:
    """Java works on where a step failed, or may not even hear that it is to end. The next try has another."""
    _kill_java()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a Java that is gone
        spark.stop()


def as_task(fn: Callable[..., Any], *, hours: float, name: str = "", label: str = "") -> Task[..., Any]:
    """A function as a task whose process, and whose tries, end in time."""
    return task(
        fn,
        name=name or fn.__name__,
        task_run_name=label or None,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(_FIRST_DELAY_S),
        retry_jitter_factor=0.5,
        retry_condition_fn=_may_pass,
        timeout_seconds=timedelta(hours=hours).total_seconds(),
        cache_policy=OncePerRun(),
        persist_result=True,
        result_serializer=JsonResults(),
        on_running=[_begin],
        on_completion=[_end],
        on_failure=[_end],
    )


TASKS: dict[str, Task[..., Any]] = {
    "ingest": as_task(lifecycle.ingest, hours=4),
    "update_features": as_task(lifecycle.update_features, hours=4),
    "plan": as_task(lifecycle.plan, hours=0.1),
    "train_one": as_task(lifecycle.train_one, hours=8, label="train {candidate}"),
    "judge": as_task(lifecycle.judge, hours=1, label="judge {result.name}"),
    "register": as_task(lifecycle.register, hours=0.5),
    "fill_store": as_task(lifecycle.fill_store, hours=4),
    "promote": as_task(lifecycle.promote, hours=0.5),
    "monitor": as_task(lifecycle.monitor, name="monitor", hours=2),
    "write_reports": as_task(watching.write_reports, hours=0.5),
    "collect_logs": as_task(watching.collect_logs, hours=2),
    "due_request": as_task(retrain.due_request, hours=0.1),
    "compute_live_features": as_task(retrain.compute_live_features, hours=4),
    "close_request": as_task(close_request, hours=0.1),
    "show_candidates": as_task(artifacts.show_candidates, hours=0.1),
    "show_gate": as_task(artifacts.show_gate, hours=0.1),
    "show_look": as_task(artifacts.show_look, hours=0.1),
}


def step(settings: Settings, name: str) -> Task[..., Any]:
    """A step as a task whose results are kept in this home."""
    return TASKS[name].with_options(result_storage=settings.home / _KEPT)
