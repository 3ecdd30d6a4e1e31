"""What served events turned out to be worth, once their labels are in: one measure a task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops import metrics, regression
from mlops.features import duration_us
from mlops.policy import Policy
from mlops.schema import Task
from monitoring.results import PeriodScores, RegressionScores, Scores

__all__ = ["Answered", "Measure", "measure_of"]

_DAY_US = duration_us("1d")


class Answered(msgspec.Struct, frozen=True):
    """Served events, one array a column; `time` in microseconds since 1970, `rank` of the decision: 0, 1, 2.

    What the use case does not have is None.
    """

    id: NDArray[np.object_] | NDArray[np.int64]
    time: NDArray[np.int64]
    card: NDArray[np.object_] | NDArray[np.int64] | None
    amount: NDArray[np.float64] | None
    score: NDArray[np.float64]
    rank: NDArray[np.float64] | None
    version: NDArray[np.object_]

    @property
    def day(self) -> NDArray[np.int64]:
        return self.time // _DAY_US

    def take(self, rows: NDArray) -> Answered:
        """The events at these places, or where this is true."""
        columns: list[Any] = [None if c is None else c[rows] for c in msgspec.structs.astuple(self)]
        return Answered(*columns)


Measure = Callable[[Answered, NDArray, Policy], PeriodScores]


def measure_of(task: Task) -> Measure:
    """The measure of a task: events, of which there is one at least, their labels [n], and the policy."""
    return _MEASURES[task]


def _classification(events: Answered, y: NDArray, policy: Policy) -> Scores:
    positives, rules = int(y.sum()), policy.performance
    ap = cost = precision = recall = None
    if positives:
        together = np.arange(len(y)) if events.card is None else metrics.clusters(events.day, events.card)
        ap = metrics.bootstrap_ap(
            y, events.score, together, rounds=rules.bootstrap, confidence=rules.confidence
        )
    if policy.costs is not None and events.rank is not None:
        amount = np.zeros(len(y)) if events.amount is None else events.amount
        # The decisions that were made count, not thresholds of today: their ranks stand in for the scores.
        cost = metrics.cost(y, events.rank, amount, policy.costs, review_at=1.0, decline_at=2.0)
        stopped, flagged = cost.reviewed[1] + cost.declined[1], sum(cost.reviewed) + sum(cost.declined)
        precision = stopped / flagged if flagged else None
        recall = stopped / positives if positives else None
    first_day, last_day = _days(events)
    return Scores(
        first_day=first_day,
        last_day=last_day,
        versions=_versions(events),
        events=len(y),
        positives=positives,
        ap=ap,
        auc=metrics.auc(y, events.score) if 0 < positives < len(y) else None,
        precision=precision,
        recall=recall,
        cost=cost,
    )


def _regression(events: Answered, y: NDArray, policy: Policy) -> RegressionScores:
    rules = policy.performance
    first_day, last_day = _days(events)
    return RegressionScores(
        first_day=first_day,
        last_day=last_day,
        versions=_versions(events),
        events=len(y),
        rmse=regression.bootstrap_rmse(y, events.score, rounds=rules.bootstrap, confidence=rules.confidence),
        mae=regression.mae(y, events.score),
        bias=float(np.mean(events.score - y)),
        r2=regression.r2(y, events.score),
    )


_MEASURES: dict[Task, Measure] = {"classification": _classification, "regression": _regression}


def _versions(events: Answered) -> tuple[str, ...]:
    return tuple(sorted({str(version) for version in events.version}))


def _days(events: Answered) -> tuple[str, str]:
    first, last = (date(1970, 1, 1) + timedelta(days=int(d)) for d in (events.day.min(), events.day.max()))
    return first.isoformat(), last.isoformat()
