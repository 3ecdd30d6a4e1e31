"""Acting on monitoring's request: train on what was served since the change, and let the gate decide."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import UTC, date, datetime, timedelta

import msgspec

from mlops.errors import InputError
from mlops.home import use_case_of
from mlops.policy import Split
from mlops.settings import Settings
from monitoring.results import RetrainRequest
from monitoring.rules import close_request, open_request
from pipelines import lifecycle
from pipelines.engine import Engine
from pipelines.features import FeaturesResult
from pipelines.logs import pseudonyms_of
from pipelines.pseudonyms import pseudonymous_events
from pipelines.watching import live_tables
from training.results import TrainResult

__all__ = [
    "Retraining",
    "compute_live_features",
    "due_request",
    "first_training_day",
    "regular_request",
    "retrain",
]


class Retraining(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, what was trained, and what the gate said of it."""

    request: RetrainRequest
    candidates: tuple[TrainResult, ...]
    release: lifecycle.Release


def due_request(settings: Settings, today: date) -> RetrainRequest | None:
    """The open request, if there is one and its test days have passed with their labels.

    Raises:
        InputError: the file of the request is damaged.
    """
    request = open_request(settings.monitoring)
    return request if request and date.fromisoformat(request.not_before) <= today else None


def regular_request(settings: Settings, today: date) -> RetrainRequest:
    """A request for no other reason than that time has passed: to train on the latest days whose labels are due."""
    use_case = use_case_of(settings)
    split, latest = use_case.policy.split, today - timedelta(days=use_case.label.delay_days)
    first = latest - timedelta(days=split.days) if isinstance(split, Split) else latest
    return RetrainRequest(
        reason="it is time again",
        evidence={},
        requested_on=today.isoformat(),
        train_from=first.isoformat(),
        not_before=today.isoformat(),
    )


def first_training_day(settings: Settings, request: RetrainRequest) -> date | None:
    """The first day to train on as a request asks; None where the split is at random."""
    by_time = isinstance(use_case_of(settings).policy.split, Split)
    return date.fromisoformat(request.train_from) if by_time else None


def compute_live_features(settings: Settings, since: date) -> FeaturesResult:
    """Compute with Spark the features of what was served from `since` on, with the labels that have come in.

    Where the split is at random, those of all events that there are: of what was trained on, and what was served.

    Raises:
        InputError: the logs were not collected yet.
    """
    live = live_tables(settings)
    if not live.events.exists():
        raise InputError(
            "nothing collected yet", where=live.events, todo="look at what was served: mlops monitor"
        )
    use_case = use_case_of(settings)
    by_time = isinstance(use_case.policy.split, Split)
    moment = datetime.combine(since, datetime.min.time(), UTC) if by_time else None
    history = settings.events
    if pseudonyms := pseudonyms_of(settings):
        horizon = timedelta(microseconds=use_case.features.horizon_us)
        history = live.history
        pseudonymous_events(settings.events, history, pseudonyms, moment and moment - horizon)
    return lifecycle.compute_features(
        settings, events=[history, live.events], labels=live.labels, target=live.features, since=moment
    )


def retrain(
    engine: Engine, settings: Settings, request: RetrainRequest, *, pool: Executor, seed: int = 0
) -> Retraining:
    """Train on the live features as the request asks, send the candidates through the gate, and close the request.

    Promotion of what the gate admitted is another step.
    """
    table, first_day = live_tables(settings).features, first_training_day(settings, request)
    results: Sequence[TrainResult] = engine.run(
        "retrain", lifecycle.train, settings, first_day, pool=pool, table=table, seed=seed
    )
    release = engine.run("gate again", lifecycle.release, settings, results, pool=pool, table=table)
    close_request(settings.monitoring, request)
    return Retraining(request=request, candidates=tuple(results), release=release)
