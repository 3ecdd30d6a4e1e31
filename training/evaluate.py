"""What a scorer is worth on the test days, and which thresholds its decisions should have."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import Decisions
from mlops.policy import Policy
from training.dataset import Dataset
from training.split import Windows

__all__ = ["Evaluation", "choose_thresholds", "clusters_of", "evaluate"]

NEVER = 2.0  # a threshold that no probability reaches; JSON has no infinity
Rows = NDArray[np.int64]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a scorer on the test rows.

    Fields:
        events, frauds: how many.
        ap: average precision, with a bootstrap interval by card and day.
        card_precision: card precision@k; None for a use case without cards.
        cost, cost_approve_all: of the decisions, and of approving everything, in currency.
        baseline, baseline_ap: the single feature, in the better direction, with the highest average precision.
    """

    events: int
    frauds: int
    auc: float
    ap: metrics.Interval
    card_precision: metrics.CardPrecision | None
    cost: metrics.Cost
    cost_approve_all: float
    baseline: str
    baseline_ap: float


def evaluate(
    scores: NDArray[np.float32],
    data: Dataset,
    rows: Rows,
    decisions: Decisions,
    policy: Policy,
    *,
    seed: int,
) -> Evaluation:
    """Judge `scores` [n], one per row of `data`, on `rows`.

    Raises:
        InputError: these rows hold one class only.
    """
    label, score, amount = data.label[rows], scores[rows].astype(np.float64), _amounts(data)[rows]
    baseline, baseline_ap = _best_single_feature(data, rows)
    card_precision = None
    if data.card is not None:
        card_precision = metrics.card_precision_at_k(
            data.day[rows], data.card[rows], label, score, policy.top_k
        )
    return Evaluation(
        events=len(rows),
        frauds=int(label.sum()),
        auc=metrics.auc(label, score),
        ap=metrics.bootstrap_ap(
            label,
            score,
            clusters_of(data, rows),
            rounds=policy.gate.bootstrap,
            confidence=policy.gate.confidence,
            seed=seed,
        ),
        card_precision=card_precision,
        cost=metrics.cost(
            label,
            score,
            amount,
            policy.costs,
            review_at=decisions.review_at,
            decline_at=decisions.decline_at,
        ),
        cost_approve_all=metrics.cost(
            label, score, amount, policy.costs, review_at=NEVER, decline_at=NEVER
        ).total,
        baseline=baseline,
        baseline_ap=baseline_ap,
    )


def choose_thresholds(
    scores: NDArray[np.float32], data: Dataset, windows: Windows, policy: Policy
) -> Decisions:
    """The thresholds that would have cost least in the waiting days.

    The model has not seen these days, and their labels are known when it goes live; so the cost on the test days is
    an honest one. Without waiting days, or frauds in them, the training days have to do.
    """
    rows, days = windows.wait, "the days between training and test"
    if not (data.label[rows] == 1).any():
        rows, days = windows.train, "the training days, which flatters them"
    label = data.label[rows]
    review_at, decline_at = metrics.best_thresholds(
        label, scores[rows].astype(np.float64), _amounts(data)[rows], policy.costs
    )
    return Decisions(
        review_at=min(review_at, NEVER),
        decline_at=min(decline_at, NEVER),
        chosen_by=f"least cost over {len(rows):,} events with {int(label.sum()):,} frauds of {days}",
    )


def clusters_of(data: Dataset, rows: Rows) -> NDArray[np.int64]:
    """What is drawn together in a bootstrap: the events of a card on a day, or single events without cards."""
    if data.card is None:
        return np.arange(len(rows))
    return metrics.clusters(data.day[rows], data.card[rows])


def _amounts(data: Dataset) -> NDArray[np.float64]:
    return np.zeros(len(data)) if data.amount is None else data.amount


def _best_single_feature(data: Dataset, rows: Rows) -> tuple[str, float]:
    label = data.label[rows]
    best = ("", -1.0)
    for column, name in enumerate(data.names):
        values = data.features[rows, column].astype(np.float64)
        for sign, direction in ((1, "high"), (-1, "low")):
            ap = metrics.average_precision(label, sign * values)
            if ap > best[1]:
                best = (f"{direction} {name}", ap)
    return best
