"""Intervals hold what they should, and figures drawn together agree with what each is of the drawn events."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from mlops import metrics
from mlops.metrics.bootstrap import Draws


def events(n: int, frauds: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that know something of them."""
    rng = np.random.default_rng(seed)
    y = np.zeros(n, np.int64)
    y[rng.choice(n, frauds, replace=False)] = 1
    return y, rng.normal(size=n) + 1.5 * y


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


def test_every_figure_is_that_of_the_events_that_were_drawn() -> None:
    """By brute force: scikit-learn on the rows, each as often as its cluster was drawn."""
    rng = np.random.default_rng(4)
    n = 300
    y, s = events(n, 30)
    s = np.round(1 / (1 + np.exp(-s)), 2)  # with ties
    cluster = rng.integers(0, 80, n)
    cluster = np.unique(cluster, return_inverse=True)[1]
    amount = rng.random(n)
    counts = np.random.default_rng(5).integers(0, 4, (25, cluster.max() + 1))
    draws = Draws(counts.astype(np.uint16))
    ranking = metrics.ranking_statistic(y, s, cluster)(draws)
    mean = metrics.means({"brier": ((s - y) ** 2, np.ones(n))}, cluster)(draws)
    total = metrics.totals({"amount": amount}, cluster)(draws)
    part = np.flatnonzero(s > 0.3)
    sliced = metrics.ranking_statistic(y, s, cluster, s > 0.3)(draws)
    for one, times in enumerate(counts):
        rows = np.repeat(np.arange(n), times[cluster])
        assert np.isclose(ranking["ap"][one], average_precision_score(y[rows], s[rows]))
        assert np.isclose(ranking["auc"][one], roc_auc_score(y[rows], s[rows]))
        assert np.isclose(mean["brier"][one], brier_score_loss(y[rows], s[rows]))
        assert np.isclose(total["amount"][one], amount[rows].sum())
        some = np.repeat(part, times[cluster[part]])
        assert np.isclose(sliced["ap"][one], average_precision_score(y[some], s[some]))


def test_figures_of_one_resampling_are_those_of_each_alone() -> None:
    y, s = events(2_000, 60)
    cluster = np.arange(2_000) // 2
    together = metrics.bootstrap(
        [metrics.ranking_statistic(y, s, cluster), metrics.means({"share": (y, np.ones(2_000))}, cluster)],
        cluster,
        seed=3,
    )
    assert together[0]["ap"] == metrics.bootstrap_ap(y, s, cluster, seed=3)
    assert together[1]["share"].value == 0.03
    assert together[1]["share"].low < 0.03 < together[1]["share"].high


def test_a_figure_that_draws_do_not_allow_is_left_out() -> None:
    y, s = events(100, 1)
    alone = metrics.ranking_statistic(y, s, np.arange(100))  # in one draw of e the only positive is missing
    assert metrics.bootstrap([alone], np.arange(100)) == [{}]
    nothing = metrics.means({"none": (np.zeros(100), np.zeros(100))}, np.arange(100))
    assert metrics.bootstrap([nothing], np.arange(100)) == [{}]


def test_all_figures_of_sixty_thousand_events_take_a_second_or_two() -> None:
    rng = np.random.default_rng(0)
    y, s = events(60_000, 400)
    day, card = rng.integers(0, 7, 60_000), rng.integers(0, 5_000, 60_000)
    cluster = metrics.clusters(day, card)
    began = time.process_time()
    metrics.bootstrap(
        [
            metrics.ranking_statistic(y, s, cluster),
            metrics.card_statistic(day, card, y, s, cluster, 100),
            metrics.means({"brier": ((s - y) ** 2, np.ones(60_000))}, cluster),
            metrics.totals({"cost": s}, cluster),
        ],
        cluster,
        rounds=200,
    )
    assert time.process_time() - began < 2.5  # .25 s where this was written
