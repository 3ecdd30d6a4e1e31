"""Whether scores are probabilities: scikit-learn's Brier score, and bins that were counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from mlops import metrics
from mlops.metrics import Interval


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_brier_score_is_scikit_learns(rows: list[tuple[int, float]]) -> None:
    y, s = (np.array(column) for column in zip(*rows, strict=True))
    assert metrics.brier(y, s) == pytest.approx(brier_score_loss(y, s, labels=[0, 1]), abs=1e-12)


def test_bins_hold_as_much_score_each_and_never_part_equal_ones() -> None:
    s = np.array([0.1] * 10 + [0.25] * 4 + [0.5, 0.5] + [1.0])
    assert metrics.reliability_bins(s, 4).tolist() == [0] * 10 + [1] * 4 + [2, 2] + [3]
    rng = np.random.default_rng(0)
    scores = rng.random(10_000) ** 8
    sums = np.bincount(metrics.reliability_bins(scores, 10), scores)
    assert sums == pytest.approx(np.full(10, scores.sum() / 10), rel=0.02)
    shuffled = rng.permutation(10_000)
    bins = metrics.reliability_bins(scores, 10)
    assert (metrics.reliability_bins(scores[shuffled], 10) == bins[shuffled]).all()
    assert metrics.reliability_bins(np.zeros(5), 4).tolist() == [0] * 5


def test_the_calibration_error_is_what_the_bins_are_off_by_the_events_they_hold() -> None:
    s = np.array([0.1] * 10 + [0.5, 0.5])
    y = np.array([1, 1, 1] + [0] * 7 + [0, 0])
    # Ten events expect one positive and have three; two expect one and have none.
    assert metrics.calibration_error(y, s, 2) == pytest.approx((2 + 1) / 12)
    rng = np.random.default_rng(1)
    scores = rng.random(50_000)
    truth = rng.random(50_000) < scores
    assert metrics.calibration_error(truth, scores) < 0.01
    assert metrics.calibration_error(truth, scores**2) > 0.1


def test_where_all_events_of_a_bin_are_alike_its_interval_is_wilsons() -> None:
    drawn = Interval(value=0, low=0, high=0, confidence=0.95)
    found = metrics.observed_share(0, 10, drawn)
    assert (found.low, found.high) == pytest.approx((0, 0.2775), abs=1e-4)
    assert metrics.observed_share(10, 10, drawn).low == pytest.approx(0.7225, abs=1e-4)
    inner = Interval(value=0.5, low=0.4, high=0.6, confidence=0.95)
    assert metrics.observed_share(5, 10, inner) == inner
