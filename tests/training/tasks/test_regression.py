"""A prediction is held against the mean, the best single feature and the champion."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.policy import Gate, Policy, RandomSplit
from mlops.schema import Label
from mlops.slices import Slice
from mlops.tables import FeatureTable
from training.checks import Check
from training.dataset import Dataset
from training.split import Windows, split_windows
from training.tasks import Figure
from training.tasks.regression import MIN_TRAIN_EVENTS, TASK, RegressionEvaluation

LABEL = Label(column="rent")
POLICY = Policy(split=RandomSplit())
RNG = np.random.default_rng(0)
X = RNG.normal(size=(1000, 2)).astype(np.float32)
Y = 100 + 10 * X[:, 0] + 10 * X[:, 1] + RNG.normal(size=1000)
DATA = Dataset(
    ids=np.arange(1000),
    time_us=None,
    day=None,
    label=Y,
    features=X,
    names=("rooms", "area"),
    card=None,
    amount=None,
    table=FeatureTable(
        rows=0, unlabelled=0, features=FeatureSet(()), events=(), whole_number_ids=(), fingerprint=""
    ),
)
WINDOWS = split_windows(DATA, POLICY.split)
GOOD = (Y + RNG.normal(size=1000)).astype(np.float32)
MEAN = np.full(1000, Y[WINDOWS.train].mean(), np.float32)


def evaluate(scores: np.ndarray, windows: Windows = WINDOWS) -> RegressionEvaluation:
    return TASK.evaluate(scores, DATA, windows, None, POLICY, seed=0)


def checks(scores: np.ndarray, gate: Gate = POLICY.gate) -> dict[str, Check]:
    return {check.name: check for check in TASK.checks(evaluate(scores), gate, LABEL)}


def test_the_figures_are_of_the_test_rows() -> None:
    scores = np.zeros(1000, np.float32)
    scores[WINDOWS.test] = Y[WINDOWS.test]
    found = evaluate(scores)
    assert found.rmse.value == pytest.approx(0, abs=1e-5)
    assert found.r2.value == pytest.approx(1)
    assert (found.events, found.train_events) == (200, 600)


def test_the_baselines_are_fitted_to_the_training_rows() -> None:
    found = evaluate(GOOD)
    assert found.constant_rmse == pytest.approx(Y[WINDOWS.test].std(), rel=0.05)
    assert found.baseline in ("rooms", "area")
    assert found.baseline_rmse == pytest.approx(10, rel=0.15)
    assert found.metrics()["rmse"] < found.baseline_rmse < found.constant_rmse


def test_a_good_prediction_passes_every_check() -> None:
    assert list(checks(GOOD)) == ["test_events", "constant", "baseline"]
    assert all(check.passed for check in checks(GOOD).values())


def test_a_prediction_that_is_no_better_than_the_mean_is_refused() -> None:
    found = checks(MEAN + RNG.normal(0, 0.1, 1000).astype(np.float32))
    assert not found["constant"].passed
    assert not found["baseline"].passed
    assert "where the" in found["constant"].text


def test_one_feature_alone_is_not_enough() -> None:
    found = checks((100 + 10 * X[:, 0]).astype(np.float32))
    assert found["constant"].passed
    assert not found["baseline"].passed


def test_a_champion_stays_unless_it_is_beaten_beyond_noise() -> None:
    rows = WINDOWS.test

    def compared(scores: np.ndarray, champion: np.ndarray) -> Check:
        return TASK.compare(
            evaluate(scores), Y[rows], scores[rows], champion[rows], DATA, rows, POLICY.gate, seed=0
        ).check

    worse = (GOOD + RNG.normal(0, 2, 1000)).astype(np.float32)
    assert compared(GOOD, worse).passed
    assert not compared(worse, GOOD).passed
    assert not compared(GOOD, GOOD).passed
    hardly = (GOOD + RNG.normal(0, 0.05, 1000)).astype(np.float32)
    assert not compared(GOOD, hardly).passed


def test_a_difference_is_judged_by_the_size_of_the_labels() -> None:
    assert TASK.scale(np.array([3.0, 4.0])) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(MIN_TRAIN_EVENTS - 1.0), "too few to train on"),
        (np.full(100, 7.0), "all 100 labels .* are 7"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK.check_labels(labels)


def test_the_card_and_the_table_show_what_is_defined() -> None:
    found = msgspec.structs.replace(evaluate(GOOD), mape=None)
    parts = TASK.card(found, None, LABEL)
    assert Figure(name="mean absolute percentage error", value="not defined") in parts.figures
    assert parts.heads == ("mean rent",)
    assert "| predictions | events | mean prediction | bias | interval |" in parts.sections[0]
    assert list(found.shown()) == ["RMSE", "90 %", "MAE", "R²"]
    assert "mape" not in found.metrics()


def test_every_figure_has_an_interval_and_the_residuals_cover_all_events() -> None:
    found = evaluate((GOOD + 0.5).astype(np.float32))
    rows = WINDOWS.test
    assert found.bias.value == pytest.approx(np.mean((GOOD + 0.5)[rows] - Y[rows]))
    assert found.bias.low > 0
    for one in (found.rmse, found.mae, found.bias, found.r2):
        assert one.low < one.value < one.high
    assert len(found.residuals) == 10
    assert sum(one.events for one in found.residuals) == found.events == sum(found.sample.counts)
    means = [one.mean_prediction for one in found.residuals]
    assert means == sorted(means)
    assert {"rmse_low", "mae_high", "bias", "r2_low"} <= set(found.metrics())


def test_a_slice_that_is_predicted_badly_shows() -> None:
    skewed = np.where(X[:, 1] > 0, GOOD + 5, GOOD).astype(np.float32)
    slices = (Slice(name="area", feature="area", bands=(0, 2)),)
    small, large, huge = TASK.evaluate(skewed, DATA, WINDOWS, None, POLICY, seed=0, slices=slices).slices
    assert small.figures["bias"].low < 0.2 < 4 < large.figures["bias"].low
    assert small.figures["rmse"].high < large.figures["rmse"].low
    assert small.events + large.events + huge.events == len(WINDOWS.test)
    assert huge.figures is None
