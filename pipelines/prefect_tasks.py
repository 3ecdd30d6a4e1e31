"""The lifecycle's steps as Prefect's tasks: how often each is tried, how long it may take, and what is kept of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from mlops.errors import MlopsError, SetupError
from mlops.settings import Settings
from monitoring.rules import close_request
from pipelines import lifecycle, retrain, watching
from pipelines import prefect_artifacts as artifacts
from pipelines.prefect_results import JsonResults, OncePerRun, training_keys
from pipelines.workers import end_with_parent

__all__ = ["RETRIES", "TASKS", "step"]

RETRIES = 2
_FIRST_DELAY_S = 10  # and twice as long before the next
_KEPT = "prefect/results"


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether another try may end otherwise: what the platform refuses it would refuse again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SetupError) or not isinstance(error, MlopsError)


def _in_process(*_: Any) -> None:
    """Of a step in a process of its own: it is not to outlive the flow's, and has one core."""
    end_with_parent()
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")


def _task(fn: Callable[..., Any], *, hours: float, name: str = "", label: str = "") -> Task[..., Any]:
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
        on_running=[_in_process],
    )


TASKS: dict[str, Task[..., Any]] = {
    "ingest": _task(lifecycle.ingest, hours=4),
    "update_features": _task(lifecycle.update_features, hours=4),
    "training_keys": _task(training_keys, hours=0.1),
    "train_one": _task(lifecycle.train_one, hours=8, label="train {candidate}"),
    "judge": _task(lifecycle.judge, hours=1, label="judge {result.name}"),
    "register": _task(lifecycle.register, hours=0.5),
    "fill_store": _task(lifecycle.fill_store, hours=4),
    "promote": _task(lifecycle.promote, hours=0.5),
    "monitor": _task(lifecycle.monitor, name="monitor", hours=2),
    "write_reports": _task(watching.write_reports, hours=0.5),
    "collect_logs": _task(watching.collect_logs, hours=2),
    "due_request": _task(retrain.due_request, hours=0.1),
    "compute_live_features": _task(retrain.compute_live_features, hours=4),
    "close_request": _task(close_request, hours=0.1),
    "show_candidates": _task(artifacts.show_candidates, hours=0.1),
    "show_gate": _task(artifacts.show_gate, hours=0.1),
    "show_look": _task(artifacts.show_look, hours=0.1),
}


def step(settings: Settings, name: str) -> Task[..., Any]:
    """A step as a task whose results are kept in this home."""
    return TASKS[name].with_options(result_storage=settings.home / _KEPT)
