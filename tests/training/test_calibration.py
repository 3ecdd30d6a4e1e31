"""Calibrated scores are probabilities, keep their order, and are the same in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.errors import InputError
from mlops.metrics import auc
from mlops.model import Model
from tests.training.test_onnx_graph import graph
from training.calibration import Isotonic, Sigmoid, fit_calibration
from training.onnx_graph import serving_graph
from training.parity import compare

METHODS = ("sigmoid", "isotonic")


def world(n: int = 40_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rare labels, and scores that rank them well and are far too high, as a balanced model's are."""
    rng = np.random.default_rng(seed)
    probability = np.clip(rng.beta(0.3, 12, n), 1e-4, 0.999)
    odds = 8 * (probability / (1 - probability)) ** 0.7
    return (odds / (1 + odds)).astype(np.float32), (rng.random(n) < probability).astype(np.int8)


def expected_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Between mean score and rate of positives, in tenths of the scores, on average."""
    parts = np.array_split(np.argsort(scores, kind="stable"), 10)
    return float(np.mean([abs(scores[part].mean() - labels[part].mean()) for part in parts]))


@pytest.mark.parametrize("method", METHODS)
def test_scores_become_the_rates_of_rows_that_were_not_fitted_on(method: Any) -> None:
    scores, labels = world()
    calibrator = fit_calibration(scores, labels, method)
    others, truth = world(seed=1)
    assert expected_error(others, truth) > 0.1
    assert expected_error(calibrator(others), truth) < 0.005
    assert calibrator(others).mean() == pytest.approx(truth.mean(), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_no_ranking_changes(method: Any) -> None:
    scores, labels = world(4_000)
    calibrator = fit_calibration(scores, labels, method)
    assert auc(labels, calibrator(scores)) == pytest.approx(auc(labels, scores), abs=1e-4)


def test_scores_that_are_probabilities_stay_what_they_are() -> None:
    rng = np.random.default_rng(0)
    scores = rng.beta(1, 6, 50_000).astype(np.float32)
    labels = (rng.random(50_000) < scores).astype(np.int8)
    sigmoid = fit_calibration(scores, labels, "sigmoid")
    assert isinstance(sigmoid, Sigmoid)
    assert (sigmoid.slope, sigmoid.offset) == pytest.approx((1, 0), abs=0.06)
    for method in METHODS:
        assert np.abs(fit_calibration(scores, labels, method)(scores) - scores).mean() < 0.01  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_gives_the_calibrated_score(method: Any) -> None:
    scores, labels = world(5_000)
    calibrator = fit_calibration(scores, labels, method)
    plain = serving_graph(graph())
    calibrated = calibrator.append(plain)
    rows = np.random.default_rng(0).normal(0, 4, (10_000, 2)).astype(np.float32)
    rows[:3] = [[-200, 0], [200, 0], [0, 0]]
    model = Model(plain)
    assert compare(lambda x: calibrator(model(x)), calibrated, rows).max_abs_diff < 1e-6
    assert Model(calibrated)(rows[:1]).shape == (1,)


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    drawn=st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=60),
    seed=st.integers(0, 100),
)
def test_whatever_it_is_fitted_on_it_rises_and_is_not_steep(method: Any, drawn: Any, seed: int) -> None:
    scores = np.array([score for score, _ in drawn], np.float32)
    labels = np.array([label for _, label in drawn], np.int8)
    if labels.min() == labels.max():
        labels[0] = 1 - labels[0]
    calibrator = fit_calibration(scores, labels, method)
    grid = np.sort(np.random.default_rng(seed).random(2_000)).astype(np.float32)
    values = calibrator(np.concatenate([[0], grid, [1]]).astype(np.float32)).astype(np.float64)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1
    assert (np.diff(values) >= 0).all()
    if isinstance(calibrator, Isotonic):
        rises, runs = np.diff(calibrator.values), np.diff(calibrator.scores)
        assert (rises > 0).all()
        assert (rises <= 20.001 * runs).all()


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_know_nothing_become_the_rate(method: Any) -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random(20_000).astype(np.float32), (rng.random(20_000) < 0.03).astype(np.int8)
    calibrated = fit_calibration(scores, labels, method)(scores)
    assert calibrated.mean() == pytest.approx(labels.mean(), rel=0.2)
    assert np.quantile(calibrated, 0.9) < 0.06


@pytest.mark.parametrize("label", [0, 1])
def test_labels_that_are_all_alike_are_refused_with_what_to_do(label: int) -> None:
    with pytest.raises(InputError, match="nothing to calibrate on"):
        fit_calibration(np.linspace(0, 1, 9, dtype=np.float32), np.full(9, label, np.int8), "sigmoid")
