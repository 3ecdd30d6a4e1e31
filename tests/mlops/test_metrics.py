"""Metrics agree with scikit-learn where it has them, and with a computation by hand where it does not."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from mlops import metrics
from mlops.errors import InputError
from mlops.policy import Costs


def events(n: int, frauds: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that know something of them."""
    rng = np.random.default_rng(seed)
    y = np.zeros(n, np.int64)
    y[rng.choice(n, frauds, replace=False)] = 1
    return y, rng.normal(size=n) + 1.5 * y


# Few distinct scores, so that there are ties.
ranked = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(y for y, _ in rows) < len(rows)
)


@given(ranked)
def test_auc_and_average_precision_are_scikit_learns_with_ties(rows: list[tuple[int, int]]) -> None:
    y, s = (np.array(column) for column in zip(*rows, strict=True))
    assert metrics.auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert metrics.average_precision(y, s) == pytest.approx(average_precision_score(y, s), abs=1e-12)


def test_auc_and_average_precision_are_scikit_learns_on_rare_frauds() -> None:
    y, s = events(13_000, 110)
    assert metrics.auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert metrics.average_precision(y, s) == pytest.approx(average_precision_score(y, s), abs=1e-12)


def test_thinned_curve_lies_on_the_whole_one_and_keeps_its_ends() -> None:
    y, s = events(5_000, 200)
    precision, recall, threshold = precision_recall_curve(y, s)
    curve = metrics.precision_recall_curve(y, s, points=50)
    whole = set(zip(recall.round(9), precision.round(9), strict=True))
    assert len(curve.recall) <= 50
    assert set(zip(np.round(curve.recall, 9), np.round(curve.precision, 9), strict=True)) <= whole
    assert set(curve.threshold) <= set(threshold)
    assert curve.recall == sorted(curve.recall)
    assert curve.recall[-1] == 1
    assert curve.threshold[0] == s.max()


def test_card_precision_takes_a_cards_highest_event_and_forgets_cards_that_were_found() -> None:
    #        day, card, fraud, score
    rows = [
        (0, "a", 0, 0.1),
        (0, "a", 1, 0.9),  # card a scores .9 and is a fraud
        (0, "b", 0, 0.8),
        (0, "c", 1, 0.2),  # third: not looked at
        (1, "a", 1, 0.9),  # found yesterday
        (1, "b", 0, 0.7),
        (1, "c", 1, 0.6),
        (1, "d", 1, 0.5),  # third: not looked at
        (2, "d", 1, 0.4),  # two cards only, still a share of 2
    ]
    day, card, y, s = zip(*rows, strict=True)
    found = metrics.card_precision_at_k(day, card, y, s, k=2)
    assert found.value == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    # A perfect scorer finds a and c, then d; nothing is left on the third day.
    assert found.oracle == pytest.approx((2 / 2 + 1 / 2 + 0) / 3)


def test_card_precision_is_that_of_a_plain_reading_of_the_protocol() -> None:
    rng = np.random.default_rng(1)
    n, k = 3_000, 10
    day, card = rng.integers(0, 5, n), rng.integers(0, 200, n)
    y, s = (rng.random(n) < 0.05).astype(int), rng.random(n)
    found, shares = set(), []
    for d in sorted(set(day)):
        cards: dict[int, tuple[float, int]] = {}
        for i in np.flatnonzero(day == d):
            if card[i] not in found:
                score, fraud = cards.get(card[i], (-1.0, 0))
                cards[card[i]] = (max(score, s[i]), max(fraud, y[i]))
        top = sorted(cards, key=lambda c: -cards[c][0])[:k]
        hits = {c for c in top if cards[c][1]}
        shares.append(len(hits) / k)
        found |= hits
    assert metrics.card_precision_at_k(day, card, y, s, k).value == pytest.approx(np.mean(shares))


def test_cost_counts_each_decision_by_the_policy() -> None:
    costs = Costs(review=5, false_decline=40, chargeback=15)
    y = [0, 1, 0, 1, 0, 1]
    s = [0.9, 0.8, 0.6, 0.5, 0.2, 0.1]
    found = metrics.cost(y, s, [10, 20, 30, 40, 50, 60], costs, review_at=0.5, decline_at=0.8)
    assert (found.declined, found.reviewed, found.approved) == ((1, 1), (1, 1), (1, 1))
    assert (found.false_declines, found.reviews, found.missed_frauds) == (40, 10, 75)
    assert found.total == 125


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


def test_bootstrap_interval_holds_the_value_and_is_the_same_for_a_seed() -> None:
    y, s = events(3_000, 60)
    cluster = np.arange(3_000)
    found = metrics.bootstrap_ap(y, s, cluster, rounds=100)
    assert found.low < found.value < found.high
    assert found.value == metrics.average_precision(y, s)
    assert found == metrics.bootstrap_ap(y, s, cluster, rounds=100)
    assert found != metrics.bootstrap_ap(y, s, cluster, rounds=100, seed=1)


def test_bootstrap_draws_whole_clusters() -> None:
    """Each event ten times over: as clusters of copies nothing is gained, taken apart the interval narrows."""
    y, s = events(600, 30)
    alone = metrics.bootstrap_ap(y, s, np.arange(600), rounds=400)
    y, s, copies = np.repeat(y, 10), np.repeat(s, 10), np.repeat(np.arange(600), 10)
    together = metrics.bootstrap_ap(y, s, copies, rounds=400)
    apart = metrics.bootstrap_ap(y, s, np.arange(6_000), rounds=400)
    width = alone.high - alone.low
    assert together.high - together.low == pytest.approx(width, rel=0.02)
    assert apart.high - apart.low < 0.5 * width


def test_clusters_number_distinct_rows() -> None:
    found = metrics.clusters([1, 1, 2, 2, 1], ["a", "b", "a", "a", "a"])
    assert found[0] == found[4]
    assert found[2] == found[3]
    assert len(set(found)) == 3
    assert set(found) == {0, 1, 2}


def test_paired_bootstrap_sees_a_difference_that_two_intervals_would_hide() -> None:
    y, s = events(3_000, 60)
    worse = s + np.random.default_rng(5).normal(0, 0.4, 3_000)
    cluster = np.arange(3_000)
    better = metrics.paired_bootstrap(y, s, worse, cluster)
    apart = [metrics.bootstrap_ap(y, scores, cluster) for scores in (s, worse)]
    assert better.low > 0
    assert apart[0].low < apart[1].high
    same = metrics.paired_bootstrap(y, s, s, cluster)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_two_hundred_rounds_over_a_week_of_events_take_well_under_two_seconds() -> None:
    y, s = events(13_000, 110)
    began = time.process_time()
    metrics.bootstrap_ap(y, s, np.arange(13_000) // 2, rounds=200)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    ("y", "s", "message"),
    [
        ([0, 0], [0.1, 0.2], "no positive label"),
        ([0, 1], [0.1, float("nan")], "not a number"),
        ([0, 1], [0.1], "do not fit"),
        ([], [], "no events"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(y: list[int], s: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.average_precision(y, s)


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="one class only"):
        metrics.auc([1, 1], [0.1, 0.2])
