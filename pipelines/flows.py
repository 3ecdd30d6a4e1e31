"""The flows that Prefect runs by the clock or on request: the lifecycle's steps in their order, and what is decided.

    features    ingest what is new ─▶ update the features
    monitor     look at what was served ─▶ report ─▶ an event, where a request to train again is due
    retrain     collect ─▶ features of what was served ─▶ train ─▶ judge ─▶ register; promotion stays a person's
    lifecycle   ingest ─▶ features ─▶ train ─▶ judge ─▶ register ─▶ fill the store ─▶ promote

Where and with what they run says the environment (`MLOPS_*`), as everywhere. One flow at a time runs on a home. A run
whose process was killed anywhere is begun again by the server (see `pipelines.prefect_deployments`), and takes up where
it was: see `pipelines.prefect_results`.

Each step has a time limit, and the flows have none: within one Prefect interrupts no step any more that waits, for Java
or in `sleep`, as there is one alarm in a process and the flow's has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed

from mlops.contract import Effort
from mlops.quiet import telemetry_off
from mlops.settings import Settings
from mlops.storage import one_writer
from pipelines import spark
from pipelines.lifecycle import conclude
from pipelines.prefect_tasks import step
from pipelines.prefect_training import compete
from pipelines.retrain import first_training_day, regular_request
from pipelines.watching import live_tables

__all__ = [
    "HOME",
    "NOTHING_DUE",
    "RETRAIN_DUE",
    "day_of_run",
    "features",
    "home_resource",
    "lifecycle",
    "monitor",
    "retrain",
]

RETRAIN_DUE = "mlops.drift.retrain-due"
HOME = "mlops.home."
NOTHING_DUE = "NothingDue"  # by this name the server tells that such a run has ended


def home_resource(settings: Settings) -> str:
    """What events call this home."""
    return f"{HOME}{settings.home}"


def day_of_run() -> date:
    """The day (UTC) that the run is for: it was to start then, also where it is late, or begun again after midnight."""
    start: datetime = flow_run.scheduled_start_time
    return start.astimezone(UTC).date()


@contextmanager
def _home() -> Iterator[Settings]:
    """The settings of the environment, while no other flow runs on this home."""
    telemetry_off()
    settings = Settings.from_env()
    with one_writer(settings.home / "prefect" / "one-flow"):
        try:
            yield settings
        finally:
            spark.stop()


def _fresh_as_of(as_of: date | None, fresh: bool) -> date | None:
    """The day that freshness is judged as of, if it is."""
    return day_of_run() if fresh and as_of is None else as_of


def _conclude(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Say in the home how a run ended. One that crashed has not: it is begun again."""
    error = "" if state.is_completed() else state.message or ""
    conclude(Settings.from_env(), run=flow_run.name, state=state.type.value, error=error)


@flow(persist_result=False)
def features(events: str, as_of: date | None = None, force: bool = False, fresh: bool = False) -> None:
    """Take in what is new at `events`, a path or URI, and compute the features that it touches.

    Whether that is fresh is judged as of `as_of`; or with `fresh`, which is not for an archive, as of the run's day.
    """
    with _home() as settings:
        step(settings, "ingest")(settings, events, as_of=_fresh_as_of(as_of, fresh), force=force)
        step(settings, "update_features")(settings)


@flow(persist_result=False)
def monitor(as_of: date | None = None, against: date | None = None) -> None:
    """Look at the week before `as_of`, by default the run's day; say so where a request to train again is due."""
    with _home() as settings:
        today = as_of or day_of_run()
        look = step(settings, "monitor")(settings, as_of=today, against=against)
        step(settings, "write_reports")(settings)
        step(settings, "show_look")(settings, look)
        request = step(settings, "due_request")(settings, today)
        if request is not None:
            payload = {"reason": request.reason, "train_from": request.train_from, **request.evidence}
            emit_event(RETRAIN_DUE, {"prefect.resource.id": home_resource(settings)}, payload=payload)


@flow(persist_result=False)
def retrain(as_of: date | None = None, regularly: bool = False, seed: int = 0) -> State[None]:
    """Act on monitoring's request if one is due, or `regularly` without: train on what was served, judge, register."""
    with _home() as settings:
        today = as_of or day_of_run()
        due = step(settings, "due_request")(settings, today)
        request = due or (regular_request(settings, today) if regularly else None)
        if request is None:
            return Completed(name=NOTHING_DUE, message="no request to train again is due")
        step(settings, "collect_logs")(settings)
        step(settings, "compute_live_features")(settings, date.fromisoformat(request.train_from))
        table, train_from = live_tables(settings).features, first_training_day(settings, request)
        plan = step(settings, "plan")(settings, train_from=train_from, table=table, seed=seed)
        release = compete(settings, plan, table=table, seed=seed)
        if due is not None:
            step(settings, "close_request")(settings.monitoring, due)
        return Completed(message=release.sentence)


@flow(persist_result=False, on_completion=[_conclude], on_failure=[_conclude])
def lifecycle(
    events: str,
    as_of: date | None = None,
    force: bool = False,
    train_from: date | None = None,
    effort: Effort = "quick",
    only: list[str] | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> State[None]:
    """From events to a champion that serving follows, or to the reasons why there is none.

    Whether they are fresh is judged as of `as_of`; or with `fresh`, which is not for an archive, as of the run's day.
    """
    with _home() as settings:
        step(settings, "ingest")(settings, events, as_of=_fresh_as_of(as_of, fresh), force=force)
        step(settings, "update_features")(settings)
        plan = step(settings, "plan")(
            settings, train_from=train_from, effort=effort, only=only or (), seed=seed
        )
        release = compete(settings, plan, seed=seed, effort=effort)
        if release.version is not None:
            step(settings, "fill_store")(settings, release.version)
            step(settings, "promote")(settings, release.version)
        return Completed(message=release.sentence)
