"""The metrics of regression are scikit-learn's, and their intervals hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from mlops import regression
from mlops.errors import InputError
from mlops.metrics import bootstrap
from mlops.metrics.bootstrap import Draws

RNG = np.random.default_rng(0)
Y = RNG.normal(10, 3, 500)
P = Y + RNG.normal(0, 1, 500)


def test_the_metrics_are_scikit_learns() -> None:
    assert regression.rmse(Y, P) == pytest.approx(reference.root_mean_squared_error(Y, P))
    assert regression.mae(Y, P) == pytest.approx(reference.mean_absolute_error(Y, P))
    assert regression.r2(Y, P) == pytest.approx(reference.r2_score(Y, P))
    assert regression.mape(Y, P) == pytest.approx(reference.mean_absolute_percentage_error(Y, P))


def test_what_is_not_defined_is_none() -> None:
    assert regression.r2([2, 2, 2], [1, 2, 3]) is None
    assert regression.mape([0, 1], [1, 1]) is None


def test_the_interval_of_the_error_holds_the_true_one_as_often_as_it_says() -> None:
    errors = RNG.normal(0, 1, (200, 300))
    found = [regression.bootstrap_rmse(np.zeros(300), row, confidence=0.8) for row in errors]
    assert found[0].value == pytest.approx(regression.rmse(np.zeros(300), errors[0]))
    assert 0.7 < np.mean([one.low < 1 < one.high for one in found]) < 0.9


def test_pairing_sees_a_difference_that_two_intervals_hide() -> None:
    worse = P + RNG.normal(0, 0.3, 500)
    one, other = regression.bootstrap_rmse(Y, P), regression.bootstrap_rmse(Y, worse)
    assert one.high > other.low
    gain = regression.paired_rmse_gain(Y, P, worse)
    assert gain.value == pytest.approx(1 - regression.rmse(Y, P) / regression.rmse(Y, worse))
    assert 0 < gain.low < gain.value < gain.high


def test_the_same_predictions_gain_nothing() -> None:
    gain = regression.paired_rmse_gain(Y, P, P)
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_a_gain_is_a_share_of_the_larger_error() -> None:
    assert (regression.gain(1, 4), regression.gain(4, 1), regression.gain(2, 2)) == (0.75, -0.75, 0)


def test_nothing_is_gained_on_what_has_no_error() -> None:
    assert regression.paired_rmse_gain(Y, P, Y).value == -1
    assert regression.paired_rmse_gain(Y, Y, Y).value == 0


def test_the_draws_follow_from_the_seed() -> None:
    assert regression.bootstrap_rmse(Y, P, seed=1) == regression.bootstrap_rmse(Y, P, seed=1)
    assert regression.bootstrap_rmse(Y, P, seed=1) != regression.bootstrap_rmse(Y, P, seed=2)


def test_the_figures_of_one_resampling_are_those_of_the_events_that_were_drawn() -> None:
    """By brute force: scikit-learn on the rows, each as often as it was drawn."""
    counts = RNG.integers(0, 4, (10, 500))
    some = np.arange(500) % 3 == 0
    for rows in (slice(None), some):
        found = regression.error_statistic(Y, P, rows)(Draws(counts))
        for one, times in enumerate(counts):
            drawn = np.repeat(np.arange(500)[rows], times[rows])
            y, p = Y[drawn], P[drawn]
            assert found["rmse"][one] == pytest.approx(reference.root_mean_squared_error(y, p))
            assert found["mae"][one] == pytest.approx(reference.mean_absolute_error(y, p))
            assert found["r2"][one] == pytest.approx(reference.r2_score(y, p))
            assert found["bias"][one] == pytest.approx(np.mean(p - y))


def test_labels_that_are_all_one_number_have_no_r2() -> None:
    found = bootstrap([regression.error_statistic(np.full(50, 7.0), np.arange(50.0))], np.arange(50))[0]
    assert set(found) == {"rmse", "mae", "bias"}


def test_predictions_are_binned_evenly_and_equal_ones_together() -> None:
    assert np.bincount(regression.prediction_bins(RNG.normal(size=500))).tolist() == [50] * 10
    bins = regression.prediction_bins([1.0] * 6 + [2.0, 3.0, 4.0], 3)
    assert bins.tolist() == [0] * 6 + [1, 1, 1]


@pytest.mark.parametrize(
    ("y", "p", "said"),
    [([1.0], [1.0, 2.0], "do not fit"), ([], [], "no events"), ([math.nan], [1.0], "labels")],
)
def test_what_cannot_be_measured_is_refused(y: list[float], p: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        regression.rmse(y, p)
