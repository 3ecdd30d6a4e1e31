"""A graph that says something else than its original is found out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlops.bundle import open_bundle
from mlops.errors import BundleError, ParityError
from mlops.model import Model, open_model
from tests.training.test_onnx_graph import graph
from training.onnx_graph import serving_graph
from training.parity import compare, fresh_sample
from training.results import TrainResult

ROWS = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x.sum(axis=1, dtype=np.float64)))).astype(np.float32)


def test_a_faithful_graph_is_within_rounding() -> None:
    found = compare(sigmoid, serving_graph(graph()), ROWS)
    assert found.rows == 500
    assert found.max_abs_diff < 1e-6


def test_one_row_that_differs_shows() -> None:
    def other(x: np.ndarray) -> np.ndarray:
        scores = sigmoid(x)
        scores[123] += 0.09
        return scores

    assert compare(other, serving_graph(graph()), ROWS).max_abs_diff == pytest.approx(0.09, abs=1e-6)


def test_scores_that_are_no_numbers_are_an_error_and_not_a_difference() -> None:
    with pytest.raises(ParityError, match="finite"):
        compare(sigmoid, serving_graph(graph("Log")), -np.abs(ROWS))


def test_what_onnx_runtime_does_not_take_is_an_error() -> None:
    with pytest.raises(BundleError, match="ONNX Runtime"):
        Model(b"no graph")
    with pytest.raises(BundleError, match="ONNX Runtime"):
        Model(serving_graph(graph()))(np.zeros((3, 5), np.float32))


def test_a_fresh_sample_has_real_altered_and_barely_moved_rows() -> None:
    sample = fresh_sample(ROWS, 1_001, seed=0)
    assert sample.shape == (1_001, 2)
    assert sample.dtype == np.float32
    real = {tuple(row) for row in ROWS}
    known = np.array([tuple(row) in real for row in sample])
    assert 300 < known.sum() < 501
    nearest = np.array([np.abs(ROWS - row).max(axis=1).min() for row in sample[~known]])
    assert (nearest < 1e-6).sum() > 50  # one step of float32 away
    assert (nearest > 1e-3).sum() > 300  # somewhere else
    assert (sample == fresh_sample(ROWS, 1_001, seed=0)).all()
    assert (sample != fresh_sample(ROWS, 1_001, seed=1)).any()


def test_golden_rows_catch_a_model_that_scores_otherwise(trees: TrainResult, public_key: Path) -> None:
    bundle = open_bundle(trees.bundle, public_key=public_key)
    open_model(bundle)
    wrong = msgspec.structs.replace(bundle.golden, scores=[*bundle.golden.scores[:-1], 0.1])
    with pytest.raises(BundleError, match="golden rows"):
        open_model(msgspec.structs.replace(bundle, golden=wrong))
