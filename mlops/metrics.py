"""What a ranking of rare events is worth: numbers from labels and scores, in NumPy alone.

Arrays are 1-d and of one length: `y` labels in {0, 1}, `s` scores (higher is more suspicious). Average precision
and the area under the ROC curve are scikit-learn's definitions; card precision@k is that of Le Borgne et al.,
Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.errors import InputError
from mlops.policy import Costs

__all__ = [
    "CardPrecision",
    "Cost",
    "Curve",
    "Interval",
    "auc",
    "average_precision",
    "best_thresholds",
    "bootstrap_ap",
    "card_precision_at_k",
    "clusters",
    "cost",
    "paired_bootstrap",
    "precision_recall_curve",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 4_000_000  # resampled weights held at once, in numbers


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate, and the percentile bootstrap interval around it that holds `confidence`."""

    value: float
    low: float
    high: float
    confidence: float


class CardPrecision(msgspec.Struct, frozen=True, kw_only=True):
    """Card precision@k, what a scorer that knows the labels would reach on the same events, and k."""

    value: float
    oracle: float
    k: int


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A precision-recall curve: point i is what alerts from a score of `threshold[i]` on would reach."""

    recall: list[float]
    precision: list[float]
    threshold: list[float]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions cost in all, and what they were: counts of genuine (0) and fraudulent (1) events."""

    total: float
    reviews: float
    false_declines: float
    missed_frauds: float
    approved: tuple[int, int]
    reviewed: tuple[int, int]
    declined: tuple[int, int]


def auc(y: ArrayLike, s: ArrayLike) -> float:
    """Area under the ROC curve: how often a fraud scores above a genuine event; ties count one half.

    Raises:
        InputError: one class only, or the arrays do not fit each other.
    """
    labels, scores = _checked(y, s)
    positive, negative = np.sort(scores[labels == 1]), scores[labels == 0]
    if not len(positive) or not len(negative):
        raise InputError("one class only: the area under the ROC curve is not defined", where="labels")
    above = len(positive) - np.searchsorted(positive, negative, side="right")
    tied = np.searchsorted(positive, negative, side="right") - np.searchsorted(
        positive, negative, side="left"
    )
    return float((above.sum() + tied.sum() / 2) / (len(positive) * len(negative)))


def average_precision(y: ArrayLike, s: ArrayLike) -> float:
    """Average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores, from the highest down.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    labels, scores = _checked(y, s)
    return float(_Ranking(labels, scores).average_precision(np.ones((1, len(labels))))[0])


def precision_recall_curve(y: ArrayLike, s: ArrayLike, *, points: int = 200) -> Curve:
    """The precision-recall curve, thinned to at most `points` of its points, for plotting.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    labels, scores = _checked(y, s)
    ranking = _Ranking(labels, scores)
    true, alerts = ranking.counts(np.ones((1, len(labels))))
    recall = true[0] / true[0, -1]
    # Evenly along recall: the many thresholds below the last fraud would use up the points otherwise.
    wanted = np.searchsorted(recall, np.linspace(recall[0], 1, points))
    kept = np.unique(np.minimum(wanted, len(recall) - 1))
    return Curve(
        recall=recall[kept].tolist(),
        precision=(true[0] / alerts[0])[kept].tolist(),
        threshold=scores[ranking.order][ranking.last][kept].tolist(),
    )


def card_precision_at_k(
    day: ArrayLike, card: ArrayLike, y: ArrayLike, s: ArrayLike, k: int = 100
) -> CardPrecision:
    """Card precision@k: each day the k cards with the highest scores are checked; the mean share found fraudulent.

    A card scores as its highest event of the day, and is fraudulent if any of its events of the day is. A card
    found is not looked at on later days. Ties go to the lower card. The share is of k, also on days with fewer cards.

    Args:
        day, card: of each event; any type that can be sorted.

    Raises:
        InputError: no events, or the arrays do not fit each other.
    """
    labels, scores = _checked(y, s, need_positive=False)
    days = np.unique(np.asarray(day), return_inverse=True)[1]
    cards = np.unique(np.asarray(card), return_inverse=True)[1]
    return CardPrecision(
        value=_card_precision(days, cards, labels, scores, k),
        oracle=_card_precision(days, cards, labels, labels.astype(np.float64), k),
        k=k,
    )


def _card_precision(days: Ints, cards: Ints, labels: Ints, scores: Floats, k: int) -> float:
    found = np.zeros(cards.max() + 1, np.bool_)
    shares = []
    for day in range(days.max() + 1):
        rows = np.flatnonzero((days == day) & ~found[cards])
        score = np.full(len(found), -np.inf)
        fraud = np.zeros(len(found), np.bool_)
        np.maximum.at(score, cards[rows], scores[rows])
        fraud[cards[rows][labels[rows] == 1]] = True
        seen = np.unique(cards[rows])
        top = seen[np.argsort(-score[seen], kind="stable")][:k]
        shares.append(fraud[top].sum() / k)
        found[top[fraud[top]]] = True
    return float(np.mean(shares))


def clusters(*columns: ArrayLike) -> Ints:
    """One number per distinct row of `columns`: what belongs together when events are resampled."""
    _, codes = np.unique(np.asarray(columns[0]), return_inverse=True)
    for column in columns[1:]:
        values, more = np.unique(np.asarray(column), return_inverse=True)
        _, codes = np.unique(codes * len(values) + more, return_inverse=True)
    return codes.astype(np.int64)


def bootstrap_ap(
    y: ArrayLike,
    s: ArrayLike,
    cluster: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
) -> Interval:
    """Average precision with a bootstrap interval; whole clusters, such as a card's day, are drawn together.

    Args:
        cluster: a number per event, as `clusters` gives.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    labels, scores = _checked(y, s)
    ranking = _Ranking(labels, scores)
    drawn = [ranking.average_precision(w) for w in _resampled(np.asarray(cluster), labels, rounds, seed)]
    return _interval(average_precision(labels, scores), np.concatenate(drawn), confidence)


def paired_bootstrap(
    y: ArrayLike,
    s: ArrayLike,
    other: ArrayLike,
    cluster: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
) -> Interval:
    """How much more average precision `s` has than `other` on the same events, with a paired bootstrap interval.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    labels, scores = _checked(y, s)
    _, others = _checked(y, other)
    ours, theirs = _Ranking(labels, scores), _Ranking(labels, others)
    drawn = [
        ours.average_precision(w) - theirs.average_precision(w)
        for w in _resampled(np.asarray(cluster), labels, rounds, seed)
    ]
    value = average_precision(labels, scores) - average_precision(labels, others)
    return _interval(value, np.concatenate(drawn), confidence)


def cost(
    y: ArrayLike, s: ArrayLike, amount: ArrayLike, costs: Costs, *, review_at: float, decline_at: float
) -> Cost:
    """What it costs to decline from `decline_at` on, to review from `review_at` on, and to approve the rest.

    Args:
        amount: of each event, in currency.

    Raises:
        InputError: the arrays do not fit each other.
    """
    labels, scores = _checked(y, s, need_positive=False)
    amounts = np.asarray(amount, np.float64)
    declined = scores >= decline_at
    reviewed = ~declined & (scores >= review_at)
    approved = ~declined & ~reviewed

    def count(mask: NDArray[np.bool_]) -> tuple[int, int]:
        frauds = int(labels[mask].sum())
        return int(mask.sum()) - frauds, frauds

    reviews = costs.review * int(reviewed.sum())
    false_declines = costs.false_decline * count(declined)[0]
    missed = float(np.sum((amounts + costs.chargeback)[approved & (labels == 1)]))
    return Cost(
        total=reviews + false_declines + missed,
        reviews=reviews,
        false_declines=false_declines,
        missed_frauds=missed,
        approved=count(approved),
        reviewed=count(reviewed),
        declined=count(declined),
    )


def best_thresholds(y: ArrayLike, s: ArrayLike, amount: ArrayLike, costs: Costs) -> tuple[float, float]:
    """The (review_at, decline_at) that would have cost least on these events; `inf` where none is worth it.

    Of equally good ones, those that decline and review fewest.

    Raises:
        InputError: the arrays do not fit each other.
    """
    labels, scores = _checked(y, s, need_positive=False)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    missed = np.where(labels == 1, np.asarray(amount, np.float64)[order] + costs.chargeback, 0.0)
    # Decline the first i, review up to j, approve the rest: the cost falls apart into a term of i and one of j ≥ i.
    # Neither may cut through events with one score.
    cuts = np.concatenate([[0], np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) + 1])
    declines = np.concatenate([[0.0], np.cumsum(costs.false_decline * (labels == 0))])[cuts]
    approvals = (missed.sum() - np.concatenate([[0.0], np.cumsum(missed)]))[cuts]
    by_decline, by_review = declines - costs.review * cuts, approvals + costs.review * cuts
    cheapest = np.minimum.accumulate(by_decline)
    end = int(np.argmin(np.round(cheapest + by_review, 6)))
    start = int(np.argmin(np.round(by_decline[: end + 1], 6)))

    def threshold(cut: int) -> float:  # halfway to the next score: neither event sits on the edge
        if cut == 0:
            return float("inf")
        return float(scores[cut - 1] + scores[min(cut, len(scores) - 1)]) / 2

    return threshold(int(cuts[end])), threshold(int(cuts[start]))


class _Ranking:
    """Events in order of falling score, so that weighted counts are running sums."""

    def __init__(self, labels: Ints, scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.labels = labels[self.order]
        self.last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last event of each score

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted frauds and events from each distinct score up. weights [rounds, n] → two [rounds, scores]."""
        ranked = weights[:, self.order]
        events = np.cumsum(ranked, axis=1)[:, self.last]
        return np.cumsum(ranked * self.labels, axis=1)[:, self.last], events

    def average_precision(self, weights: Floats) -> Floats:
        """weights [rounds, n] → [rounds]."""
        frauds, events = self.counts(weights)
        precision = np.divide(frauds, events, out=np.zeros_like(frauds), where=events > 0)
        gains = np.diff(frauds, axis=1, prepend=0.0)
        average: Floats = (gains * precision).sum(axis=1) / frauds[:, -1]
        return average


def _resampled(cluster: Ints, labels: Ints, rounds: int, seed: int) -> Iterator[Floats]:
    """Weights [≤ rounds, n] of events under resampling of clusters; draws without any fraud are drawn again."""
    rng = np.random.default_rng(seed)
    number = int(cluster.max()) + 1
    chunk = max(1, _CHUNK // len(labels))
    done = 0
    while done < rounds:
        size = min(chunk, rounds - done)
        drawn = rng.integers(0, number, (size, number)) + number * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)[:, cluster]
        weights = weights[weights @ labels > 0]
        done += len(weights)
        yield weights.astype(np.float64)


def _interval(value: float, drawn: Floats, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high), confidence=confidence)


def _checked(y: ArrayLike, s: ArrayLike, *, need_positive: bool = True) -> tuple[Ints, Floats]:
    labels, scores = np.asarray(y), np.asarray(s, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise InputError(f"{labels.shape} labels do not fit {scores.shape} scores", where="metrics")
    if not len(labels):
        raise InputError("no events", where="metrics")
    if not np.isfinite(scores).all():
        raise InputError("not a number", where="scores")
    labels = labels.astype(np.int64)
    if need_positive and not labels.any():
        raise InputError("no positive label: precision and recall are not defined", where="labels")
    return labels, scores
