"""Costs are those of the policy, and thresholds the best that keep the capacity for reviews."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops import metrics
from mlops.policy import Costs

# Few distinct scores, so that there are ties.
ranked = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(y for y, _ in rows) < len(rows)
)


def test_cost_counts_each_decision_by_the_policy() -> None:
    costs = Costs(review=5, false_decline=40, chargeback=15)
    y = [0, 1, 0, 1, 0, 1]
    s = [0.9, 0.8, 0.6, 0.5, 0.2, 0.1]
    found = metrics.cost(y, s, [10, 20, 30, 40, 50, 60], costs, review_at=0.5, decline_at=0.8)
    assert (found.declined, found.reviewed, found.approved) == ((1, 1), (1, 1), (1, 1))
    assert (found.false_declines, found.reviews, found.missed_frauds) == (40, 10, 75)
    assert found.total == 125


@settings(deadline=None)
@given(ranked, st.integers(0, 3))
def test_best_thresholds_cost_no_more_than_any_others(rows: list[tuple[int, int]], review: int) -> None:
    y, s = (np.array(column, float) for column in zip(*rows, strict=True))
    amount = 1 + 3 * np.arange(len(y)) % 7
    costs = Costs(review=review, false_decline=3, chargeback=1)

    def total(review_at: float, decline_at: float) -> float:
        return metrics.cost(y, s, amount, costs, review_at=review_at, decline_at=decline_at).total

    review_at, decline_at = metrics.best_thresholds(y, s, amount, costs)
    cuts = [*sorted(set(s)), np.inf]
    assert review_at <= decline_at
    assert total(review_at, decline_at) == pytest.approx(
        min(total(low, high) for low, high in itertools.product(cuts, cuts) if low <= high)
    )


def test_the_capacity_is_kept_on_every_day_at_the_least_cost() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = 40
        y, s, day = rng.integers(0, 2, n), rng.integers(0, 12, n) / 12, rng.integers(0, 3, n)
        amount = rng.integers(1, 9, n)
        costs = Costs(review=1, false_decline=3, chargeback=1, capacity=3)

        def reviews(low: float, high: float, s: np.ndarray = s, day: np.ndarray = day) -> int:
            return max(((s >= low) & (s < high) & (day == d)).sum() for d in range(3))

        def total(low: float, high: float, judged: tuple = (y, s, amount, costs)) -> float:
            return metrics.cost(*judged, review_at=low, decline_at=high).total

        found = metrics.best_thresholds(y, s, amount, costs, day)
        cuts = [*sorted(set(s)), np.inf]
        kept = [
            total(low, high)
            for low, high in itertools.product(cuts, cuts)
            if low <= high and reviews(low, high) <= 3
        ]
        assert reviews(*found) <= 3
        assert total(*found) == pytest.approx(min(kept))


def test_a_capacity_that_binds_nobody_changes_nothing() -> None:
    y, s, day = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.3]), np.array([0, 0, 1, 1])  # two a day
    plain = Costs()
    for capacity in (2, 3, 100):
        roomy = Costs(capacity=capacity)
        assert metrics.best_thresholds(y, s, [50] * 4, roomy, day) == metrics.best_thresholds(
            y, s, [50] * 4, plain
        )


def test_the_workload_says_where_more_is_asked_for_than_can_be_done() -> None:
    s = [0.9, 0.5, 0.5, 0.5, 0.1, 0.5, 0.1]
    day = [3, 3, 3, 3, 3, 5, 5]
    found = metrics.workload(s, day, review_at=0.4, decline_at=0.8, capacity=2)
    assert (found.mean, found.most, found.days, found.days_over, found.left_over) == (2, 3, 2, 1, 1)
    free = metrics.workload(s, day, review_at=0.4, decline_at=0.8, capacity=None)
    assert (free.capacity, free.days_over, free.left_over) == (None, 0, 0)


def test_the_cost_of_each_event_adds_up_and_the_curve_goes_through_the_chosen_thresholds() -> None:
    rng = np.random.default_rng(1)
    y, s = rng.integers(0, 2, 100), rng.random(100)
    judged = y, s, rng.integers(1, 90, 100), Costs()
    at = {"review_at": 0.4, "decline_at": 0.8}
    total = metrics.cost(*judged, **at).total
    assert metrics.event_costs(*judged, **at).sum() == pytest.approx(total)
    curve = metrics.cost_curve(*judged, [0.4, 0.8], **at)
    assert (curve.review[0], curve.decline[1]) == pytest.approx((total, total))
    assert curve.review[1] == pytest.approx(metrics.cost(*judged, review_at=9, decline_at=0.8).total)
