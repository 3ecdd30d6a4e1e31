"""How well scores rank: areas under the ROC and the precision-recall curve, and the curves themselves.

Average precision and the area under the ROC curve are scikit-learn's definitions, ties included.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.errors import InputError
from mlops.metrics.figures import Floats, Ints, checked

__all__ = ["Curve", "Ranking", "RocCurve", "auc", "average_precision", "precision_recall_curve", "roc_curve"]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A precision-recall curve: point i is what alerts from a score of `threshold[i]` on would reach."""

    recall: list[float]
    precision: list[float]
    threshold: list[float]


class RocCurve(msgspec.Struct, frozen=True, kw_only=True):
    """A ROC curve, from (0, 0) to (1, 1)."""

    false_positive_rate: list[float]
    true_positive_rate: list[float]


class Ranking:
    """Events in order of falling score, to be weighted again and again.

    Both figures are sums over the scores that a positive has; so only there the running totals are looked at.
    """

    def __init__(self, labels: Ints, scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked, positive = scores[self.order], labels[self.order] == 1
        begins = np.append(True, ranked[1:] != ranked[:-1])
        first, group = np.flatnonzero(begins), np.cumsum(begins) - 1
        held = np.unique(group[positive])
        self._first = first[held]
        self._last = np.append(first[1:], len(ranked))[held] - 1
        self._positives = np.flatnonzero(positive)
        self._starts = np.searchsorted(self._positives, self._first)

    def figures(self, weights: NDArray[np.integer]) -> dict[str, Floats]:
        """`ap` and `auc` [rounds] of weights [rounds, n] that stand in `order`; NaN where the draw does not allow one.

        Ap is Σ (Rₙ − Rₙ₋₁) Pₙ; auc counts, for each positive, the others below it, and half of those tied with it.
        """
        running = np.cumsum(weights, axis=1, dtype=np.int64)
        events = running[:, self._last]
        level = events - running[:, self._first] + weights[:, self._first]
        gained = np.add.reduceat(weights[:, self._positives], self._starts, axis=1, dtype=np.int64)
        found = np.cumsum(gained, axis=1)
        positives = found[:, -1]
        others = running[:, -1] - positives
        precision = np.divide(found, events, out=np.zeros(found.shape), where=events > 0)
        below = others[:, None] - (events - found) + (level - gained) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "ap": (gained * precision).sum(axis=1) / positives,
                "auc": (gained * below).sum(axis=1) / (positives * others),
            }


def auc(y: ArrayLike, s: ArrayLike) -> float:
    """Area under the ROC curve: how often a positive scores above another event; ties count one half.

    Raises:
        InputError: one class only, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    if labels.all() or not labels.any():
        raise InputError("one class only: the area under the ROC curve is not defined", where="labels")
    return float(Ranking(labels, scores).figures(np.ones((1, len(labels)), np.int64))["auc"][0])


def average_precision(y: ArrayLike, s: ArrayLike) -> float:
    """Average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores, from the highest down.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s)
    return float(Ranking(labels, scores).figures(np.ones((1, len(labels)), np.int64))["ap"][0])


def precision_recall_curve(y: ArrayLike, s: ArrayLike, *, points: int = 200) -> Curve:
    """The precision-recall curve, thinned to at most `points` of its points, for plotting.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    found, events, threshold = _counted(*checked(y, s))
    recall = found / found[-1]
    # Evenly along recall: the many thresholds below the last fraud would use up the points otherwise.
    wanted = np.searchsorted(recall, np.linspace(recall[0], 1, points))
    kept = np.unique(np.minimum(wanted, len(recall) - 1))
    return Curve(
        recall=recall[kept].tolist(),
        precision=(found / events)[kept].tolist(),
        threshold=threshold[kept].tolist(),
    )


def roc_curve(y: ArrayLike, s: ArrayLike, *, points: int = 200) -> RocCurve:
    """The ROC curve, thinned to at most `points` of its points, for plotting.

    Raises:
        InputError: one class only, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s)
    if labels.all():
        raise InputError("one class only: the ROC curve is not defined", where="labels")
    found, events, _ = _counted(labels, scores)
    true = np.append(0.0, found / found[-1])
    false = np.append(0.0, (events - found) / (events[-1] - found[-1]))
    # Evenly along the curve, whose length is counted in both directions.
    length = true + false
    wanted = np.searchsorted(length, np.linspace(0, length[-1], points))
    kept = np.unique(np.concatenate([[0], np.minimum(wanted, len(length) - 1), [len(length) - 1]]))
    return RocCurve(false_positive_rate=false[kept].tolist(), true_positive_rate=true[kept].tolist())


def _counted(labels: Ints, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Positives and events from each distinct score up, and the scores, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found = np.cumsum(labels[order])[last].astype(np.float64)
    return found, (last + 1).astype(np.float64), ranked[last]
