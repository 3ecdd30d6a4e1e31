"""What decisions by two thresholds cost, which thresholds cost least, and how many reviews they ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mlops.metrics.figures import Floats, Ints, Masks, checked
from mlops.policy import Costs

__all__ = [
    "Cost",
    "CostCurve",
    "Workload",
    "best_thresholds",
    "cost",
    "cost_curve",
    "event_costs",
    "workload",
]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions cost in all, and what they were: counts of genuine (0) and fraudulent (1) events."""

    total: float
    reviews: float
    false_declines: float
    missed_frauds: float
    approved: tuple[int, int]
    reviewed: tuple[int, int]
    declined: tuple[int, int]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Reviews that decisions ask for, against how many a day can be done; None of that, and the rest says it all.

    Fields:
        capacity: reviews a day.
        mean, most: asked for a day, on average and on the busiest day.
        days, days_over: how many there are, and on how many of them more is asked for than can be done.
        left_over: reviews asked for in all that nobody would get to.
    """

    capacity: int | None
    mean: float
    most: int
    days: int
    days_over: int
    left_over: int


class CostCurve(msgspec.Struct, frozen=True, kw_only=True):
    """The total cost where one threshold is moved and the other kept: [points] each."""

    threshold: list[float]
    review: list[float]
    decline: list[float]


def cost(
    y: ArrayLike, s: ArrayLike, amount: ArrayLike, costs: Costs, *, review_at: float, decline_at: float
) -> Cost:
    """What it costs to decline from `decline_at` on, to review from `review_at` on, and to approve the rest.

    Args:
        amount: of each event, in currency.

    Raises:
        InputError: the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    declined, reviewed = _decided(scores, review_at, decline_at)
    approved = ~declined & ~reviewed
    each = event_costs(labels, scores, amount, costs, review_at=review_at, decline_at=decline_at)

    def count(mask: Masks) -> tuple[int, int]:
        frauds = int(labels[mask].sum())
        return int(mask.sum()) - frauds, frauds

    parts = [float(each[mask].sum()) for mask in (reviewed, declined, approved)]
    return Cost(
        total=sum(parts),
        reviews=parts[0],
        false_declines=parts[1],
        missed_frauds=parts[2],
        approved=count(approved),
        reviewed=count(reviewed),
        declined=count(declined),
    )


def event_costs(
    y: ArrayLike, s: ArrayLike, amount: ArrayLike, costs: Costs, *, review_at: float, decline_at: float
) -> Floats:
    """What the decision on each event costs, [n]: see `cost`.

    Raises:
        InputError: the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    declined, reviewed = _decided(scores, review_at, decline_at)
    missed = np.where(labels == 1, np.asarray(amount, np.float64) + costs.chargeback, 0.0)
    refused = np.where(labels == 1, 0.0, costs.false_decline)
    return np.where(declined, refused, np.where(reviewed, costs.review, missed))


def best_thresholds(
    y: ArrayLike, s: ArrayLike, amount: ArrayLike, costs: Costs, day: ArrayLike | None = None
) -> tuple[float, float]:
    """The (review_at, decline_at) that would have cost least on these events; `inf` where none is worth it.

    Of equally good ones, those that decline and review fewest. Where `costs` have a capacity, only thresholds count
    that would have asked for no more reviews on any day.

    Args:
        day: of each event, whole numbers; without it the capacity is not looked at.

    Raises:
        InputError: the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    missed = np.where(labels == 1, np.asarray(amount, np.float64)[order] + costs.chargeback, 0.0)
    # Decline the first i, review up to j, approve the rest: the cost falls apart into a term of i and one of j ≥ i.
    # Neither may cut through events with one score.
    cuts = np.concatenate([[0], np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) + 1])
    declines = np.concatenate([[0.0], np.cumsum(costs.false_decline * (labels == 0))])[cuts]
    approvals = (missed.sum() - np.concatenate([[0.0], np.cumsum(missed)]))[cuts]
    by_decline, by_review = declines - costs.review * cuts, approvals + costs.review * cuts
    fewest = np.zeros(len(cuts), np.int64)
    if costs.capacity is not None and day is not None:
        fewest = _declined_at_least(np.asarray(day)[order], cuts, costs.capacity)
    cheapest = _window_minima(by_decline, fewest)
    end = int(np.argmin(np.round(cheapest + by_review, 6)))
    start = int(fewest[end]) + int(np.argmin(np.round(by_decline[fewest[end] : end + 1], 6)))

    def threshold(cut: int) -> float:  # halfway to the next score: neither event sits on the edge
        if cut == 0:
            return float("inf")
        return float(scores[cut - 1] + scores[min(cut, len(scores) - 1)]) / 2

    return threshold(int(cuts[end])), threshold(int(cuts[start]))


def workload(
    s: ArrayLike, day: ArrayLike, *, review_at: float, decline_at: float, capacity: int | None
) -> Workload:
    """The reviews that thresholds ask for day by day; days without any event do not count.

    Args:
        day: of each event.
    """
    scores = np.asarray(s, np.float64)
    _, reviewed = _decided(scores, review_at, decline_at)
    days = np.unique(np.asarray(day), return_inverse=True)[1]
    asked = np.bincount(days, reviewed.astype(np.float64)).astype(np.int64)
    over = np.maximum(asked - capacity, 0) if capacity is not None else np.zeros_like(asked)
    return Workload(
        capacity=capacity,
        mean=float(asked.mean()),
        most=int(asked.max()),
        days=len(asked),
        days_over=int((over > 0).sum()),
        left_over=int(over.sum()),
    )


def cost_curve(
    y: ArrayLike,
    s: ArrayLike,
    amount: ArrayLike,
    costs: Costs,
    thresholds: Sequence[float],
    *,
    review_at: float,
    decline_at: float,
) -> CostCurve:
    """What other thresholds would have cost, for plotting: one of the two moved at a time.

    A review threshold above the one to decline from reviews nothing.

    Raises:
        InputError: the arrays do not fit each other.
    """

    def total(review: float, decline: float) -> float:
        return float(event_costs(y, s, amount, costs, review_at=review, decline_at=decline).sum())

    return CostCurve(
        threshold=[float(at) for at in thresholds],
        review=[total(at, decline_at) for at in thresholds],
        decline=[total(min(review_at, at), at) for at in thresholds],
    )


def _decided(scores: Floats, review_at: float, decline_at: float) -> tuple[Masks, Masks]:
    declined = scores >= decline_at
    return declined, ~declined & (scores >= review_at)


def _declined_at_least(day: Ints, cuts: Ints, capacity: int) -> Ints:
    """For each cut to review up to, the first cut to decline up to, so that no day has more reviews than it can.

    `day` is of the events in the order of falling scores.
    """
    least = np.zeros(len(day) + 1, np.int64)  # of j events reviewed or declined, how many must be declined
    for one in np.unique(day):
        places = np.flatnonzero(day == one)
        least[places[capacity:] + 1] = places[: max(len(places) - capacity, 0)] + 1
    needed = np.maximum.accumulate(least)[cuts]
    return np.searchsorted(cuts, needed).astype(np.int64)


def _window_minima(values: Floats, first: Ints) -> Floats:
    """min(values[first[j] : j + 1]) for each j, where `first` does not fall."""
    if not first.any():
        return np.minimum.accumulate(values)
    minima = np.empty(len(values))
    waiting: deque[int] = deque()  # places of rising values, the least of the window in front
    for j, (value, begin) in enumerate(zip(values.tolist(), first.tolist(), strict=True)):
        while waiting and values[waiting[-1]] >= value:
            waiting.pop()
        waiting.append(j)
        while waiting[0] < begin:
            waiting.popleft()
        minima[j] = values[waiting[0]]
    return minima
