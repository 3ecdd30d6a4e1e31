"""The figures of scores on the test rows, with their intervals from one resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import Decisions
from mlops.errors import InputError
from mlops.policy import Policy
from mlops.slices import Slice
from training.dataset import Dataset
from training.split import Windows
from training.tasks import Rows, Scores
from training.tasks.classification.figures import ClassificationEvaluation, Curves, Histogram
from training.tasks.classification.slicing import judge_slices

__all__ = ["NEVER", "amounts_of", "clusters_of", "evaluate"]

NEVER = 2.0  # a threshold that no probability reaches; JSON has no infinity

_BINS = 10
_BORDERS = np.concatenate([[0.0], 1 / (1 + np.exp(-np.arange(-9.0, 9.01, 0.5))), [1.0]])  # evenly in log-odds


class _Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions cost, each event's part of it, and the reviews that they ask for."""

    cost: metrics.Cost
    each: NDArray[np.float64]
    approve_all: float
    workload: metrics.Workload | None
    curve: metrics.CostCurve


def evaluate(
    scores: Scores,
    data: Dataset,
    windows: Windows,
    decisions: Decisions | None,
    policy: Policy,
    *,
    seed: int,
    slices: Sequence[Slice] = (),
    details: Sequence[str] = (),
) -> ClassificationEvaluation:
    """See `training.tasks.Task.evaluate`."""
    rows = windows.test
    label, score = data.label[rows].astype(np.int64), scores[rows].astype(np.float64)
    if label.all() or not label.any():
        raise InputError(
            f"the {len(label):,} test events are of one class only",
            where="split",
            todo="choose a window that holds both",
        )
    cluster, ones = clusters_of(data, rows), np.ones(len(rows))
    bins = metrics.reliability_bins(score, _BINS)
    statistics = [
        metrics.ranking_statistic(label, score, cluster),
        metrics.means({"brier": ((score - label) ** 2, ones), "expected": (score, label)}, cluster),
        metrics.means({str(b): (label * (bins == b), bins == b) for b in range(bins.max() + 1)}, cluster),
    ]
    cards = None
    if data.card is not None and data.day is not None:
        by_card = data.day[rows], data.card[rows], label, score
        cards = metrics.card_precision_at_k(*by_card, policy.top_k)
        statistics.append(metrics.card_statistic(*by_card, cluster, policy.top_k))
    decided = _decided(label, score, data, rows, decisions, policy)
    if decided is not None:
        statistics.append(metrics.totals({"cost": decided.each}, cluster))
    drawn: dict[str, Any] = {
        "rounds": policy.gate.bootstrap,
        "confidence": policy.gate.confidence,
        "seed": seed,
    }
    # With few positives many draws hold none; `test_positives` is what refuses, not a figure that is missing.
    found = metrics.bootstrap(statistics, cluster, most_undefined=1.0, **drawn)
    intervals = {name: one for part in found for name, one in part.items()}
    baseline, baseline_ap = _best_single_feature(data, rows)
    share = float(label.mean())
    return ClassificationEvaluation(
        events=len(rows),
        positives=int(label.sum()),
        train_events=len(windows.examples),
        train_positives=int(windows.examples.labels.sum()),
        auc=intervals["auc"],
        ap=intervals["ap"],
        brier=intervals["brier"],
        brier_constant=share * (1 - share),
        calibration_error=metrics.calibration_error(label, score, _BINS),
        expected=intervals["expected"],
        reliability=_reliability(label, score, bins, intervals),
        card_precision=cards,
        card_precision_interval=intervals.get("card_precision"),
        cost=decided.cost if decided else None,
        cost_interval=intervals.get("cost"),
        cost_approve_all=decided.approve_all if decided else None,
        workload=decided.workload if decided else None,
        baseline=baseline,
        baseline_ap=baseline_ap,
        slices=judge_slices(slices, details, data, rows, score, cluster, decisions, **drawn),
        curves=Curves(
            precision_recall=metrics.precision_recall_curve(label, score),
            roc=metrics.roc_curve(label, score),
            scores=_histogram(label, score),
            cost=decided.curve if decided else None,
        ),
    )


def clusters_of(data: Dataset, rows: Rows) -> Rows:
    """What is drawn together in a bootstrap: the events of a card on a day, or single events without cards."""
    if data.card is None or data.day is None:
        return np.arange(len(rows))
    return metrics.clusters(data.day[rows], data.card[rows])


def amounts_of(data: Dataset) -> NDArray[np.float64]:
    """The amount of each event, 0 where the use case has none."""
    return np.zeros(len(data)) if data.amount is None else data.amount


def _decided(
    label: Rows,
    score: NDArray[np.float64],
    data: Dataset,
    rows: Rows,
    decisions: Decisions | None,
    policy: Policy,
) -> _Decided | None:
    if decisions is None or policy.costs is None:
        return None
    judged = label, score, amounts_of(data)[rows], policy.costs
    at: dict[str, Any] = {"review_at": decisions.review_at, "decline_at": decisions.decline_at}
    return _Decided(
        cost=metrics.cost(*judged, **at),
        each=metrics.event_costs(*judged, **at),
        approve_all=metrics.cost(*judged, review_at=NEVER, decline_at=NEVER).total,
        workload=None
        if data.day is None
        else metrics.workload(score, data.day[rows], **at, capacity=policy.costs.capacity),
        curve=metrics.cost_curve(*judged, _BORDERS[1:-1].tolist(), **at),
    )


def _reliability(
    label: Rows, score: NDArray[np.float64], bins: Rows, intervals: dict[str, metrics.Interval]
) -> tuple[metrics.Reliability, ...]:
    found = []
    for number in range(bins.max() + 1):
        own = bins == number
        found.append(
            metrics.Reliability(
                low=float(score[own].min()),
                high=float(score[own].max()),
                events=int(own.sum()),
                positives=int(label[own].sum()),
                mean_score=float(score[own].mean()),
                observed=metrics.observed_share(
                    int(label[own].sum()), int(own.sum()), intervals.get(str(number))
                ),
            )
        )
    return tuple(found)


def _histogram(label: Rows, score: NDArray[np.float64]) -> Histogram:
    inside = np.clip(score, 0, 1)
    counts = [np.histogram(inside[label == class_], _BORDERS)[0].tolist() for class_ in (0, 1)]
    return Histogram(borders=_BORDERS.tolist(), others=counts[0], positives=counts[1])


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
