"""The figures of a scorer of rare events on the test rows."""

from __future__ import annotations

import msgspec

from mlops import metrics
from mlops.slices import SliceFigures

__all__ = ["ClassificationEvaluation", "Curves", "Histogram"]


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """How many events of each class have scores between one of [b + 1] borders and the next: [b] each."""

    borders: list[float]
    others: list[int]
    positives: list[int]


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn: thinned curves, the distribution of scores, and the cost of other thresholds, if any."""

    precision_recall: metrics.Curve
    roc: metrics.RocCurve
    scores: Histogram
    cost: metrics.CostCurve | None


class ClassificationEvaluation(msgspec.Struct, frozen=True, kw_only=True, tag="classification"):
    """The figures of a scorer on the test rows; intervals are bootstrap intervals by card and day.

    Fields:
        events, positives: how many; `train_events` and `train_positives` in training.
        auc, ap: areas under the ROC and the precision-recall curve.
        brier, calibration_error: of the scores as probabilities; `brier_constant` is the Brier score of the share of
            positives, given to every event. The error has no interval: resampling can only add to it.
        expected: the expected/observed ratio, positives that the scores add up to over those that there are.
        reliability: the reliability curve, bins of rising scores.
        card_precision, card_precision_interval: card precision@k; None for a use case without cards.
        cost, cost_interval, cost_approve_all: of the decisions, and of approving everything, in currency; None without
            costs.
        workload: the reviews that the decisions ask for; None without costs or days.
        baseline, baseline_ap: the single feature, in the better direction, with the highest average precision.
        slices: the parts of the events, in the order of their declaration; slices that the data cannot tell have none.
    """

    events: int
    positives: int
    train_events: int
    train_positives: int
    auc: metrics.Interval
    ap: metrics.Interval
    brier: metrics.Interval
    brier_constant: float
    calibration_error: float
    expected: metrics.Interval
    reliability: tuple[metrics.Reliability, ...]
    card_precision: metrics.CardPrecision | None
    card_precision_interval: metrics.Interval | None
    cost: metrics.Cost | None
    cost_interval: metrics.Interval | None
    cost_approve_all: float | None
    workload: metrics.Workload | None
    baseline: str
    baseline_ap: float
    slices: tuple[SliceFigures, ...]
    curves: Curves

    @property
    def rank(self) -> float:
        return self.ap.value

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        intervals = {
            "auc": self.auc,
            "ap": self.ap,
            "brier": self.brier,
            "expected": self.expected,
            "cost": self.cost_interval,
        }
        if (cards := self.card_precision) is not None:
            intervals[f"cp{cards.k}"] = self.card_precision_interval
        figures = {
            f"{name}{end}": value
            for name, one in intervals.items()
            if one is not None
            for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
        }
        figures |= {
            "calibration_error": self.calibration_error,
            "baseline_ap": self.baseline_ap,
            "test_positives": float(self.positives),
            "train_positives": float(self.train_positives),
        }
        if self.cost_approve_all is not None:
            figures["cost_approve_all"] = self.cost_approve_all
        if cards is not None:
            figures[f"cp{cards.k}_oracle"] = cards.oracle
        return figures

    def shown(self) -> dict[str, str]:
        """The figures of a table, by heading."""
        ap, cards = self.ap, self.card_precision
        found = {
            "AUC": f"{self.auc.value:.3f}",
            "AP": f"{ap.value:.3f}",
            f"{ap.confidence:.0%}".replace("%", " %"): f"{ap.low:.3f}–{ap.high:.3f}",
        }
        return found | ({f"CP@{cards.k}": f"{cards.value:.3f} of {cards.oracle:.3f}"} if cards else {})
