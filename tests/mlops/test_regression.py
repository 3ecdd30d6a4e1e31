"""The metrics of regression are scikit-learn's, and their intervals hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from mlops import regression
from mlops.errors import InputError

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


@pytest.mark.parametrize(
    ("y", "p", "said"),
    [([1.0], [1.0, 2.0], "do not fit"), ([], [], "no events"), ([math.nan], [1.0], "labels")],
)
def test_what_cannot_be_measured_is_refused(y: list[float], p: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        regression.rmse(y, p)
