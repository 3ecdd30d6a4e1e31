"""A graph that says something else than its original is found out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from mlops.bundle import open_bundle
from mlops.errors import BundleError, ParityError
from mlops.features import Calendar, Count, FeatureSet, Missing, Ratio, Rolling, Value
from mlops.model import Model, open_model
from tests.training.test_onnx_graph import graph
from training.onnx_graph import serving_graph
from training.parity import compare, fallbacks, fresh_sample
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
    assert 250 < known.sum() < 480
    nearest = np.array([np.abs(ROWS - row).max(axis=1).min() for row in sample[~known]])
    assert (nearest < 1e-6).sum() > 50  # one step of float32 away
    assert (nearest > 1e-3).sum() > 300  # somewhere else
    assert (sample == fresh_sample(ROWS, 1_001, seed=0)).all()
    assert (sample != fresh_sample(ROWS, 1_001, seed=1)).any()


def test_a_fresh_sample_has_each_feature_at_its_extremes_and_at_what_stands_for_missing() -> None:
    sample = fresh_sample(ROWS, 10_000, seed=0, missing=(None, -7.0))
    for column, values in enumerate((ROWS[:, 0], ROWS[:, 1])):
        for extreme in (0, values.min(), values.max(), 1e6 * values.max(), 1e6 * values.min()):
            assert (sample[:, column] == np.float32(extreme)).sum() > 5
    assert (sample[:, 0] == -7).sum() == 0
    assert (sample[:, 1] == -7).sum() > 5
    assert np.isfinite(sample).all()


def test_a_fresh_sample_has_rows_that_are_extreme_throughout_and_one_of_a_new_card() -> None:
    rows = {tuple(row) for row in fresh_sample(ROWS, 200, seed=0, missing=(-3.0, -7.0)).tolist()}
    low, high = ROWS.min(axis=0), ROWS.max(axis=0)
    huge, tiny = np.float32(1e6) * high, np.float32(1e6) * low
    for extreme in ([0, 0], low, high, huge, tiny, [-3, -7]):
        assert tuple(np.float32(extreme).tolist()) in rows


def test_what_is_never_missing_stays_as_it_was_where_all_else_is_missing() -> None:
    sample = fresh_sample(ROWS, 60, seed=0, missing=(None, -7.0))
    (new,) = sample[sample[:, 1] == -7]
    assert new[0] in ROWS[:, 0]


def test_features_that_are_never_negative_stay_so() -> None:
    assert fresh_sample(np.abs(ROWS), 2_000, seed=0, graph=serving_graph(graph())).min() == 0


def test_a_fresh_sample_looks_at_both_sides_of_every_threshold() -> None:
    model = serving_graph(graph())
    sample = fresh_sample(ROWS, 10_000, seed=0, graph=model, thresholds=(0.2, 0.9))
    scores = Model(model)(sample).astype(np.float64)
    for threshold in (0.2, 0.9):
        near = np.abs(scores - threshold) < 1e-6
        assert (near & (scores < threshold)).sum() > 30
        assert (near & (scores >= threshold)).sum() > 30


def test_a_jump_that_sits_one_step_off_is_found_behind_any_preprocessing() -> None:
    """A step at 0.3 of the sum, and another one that goes up a little later: no tree's splits can be read."""

    def at(border: float) -> bytes:
        nodes = [
            helper.make_node("MatMul", ["features", "ones"], ["sum"]),
            helper.make_node("Greater", ["sum", "border"], ["over"]),
            helper.make_node("Cast", ["over"], ["score"], to=TensorProto.FLOAT),
        ]
        row = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2])
        out = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])
        held = [
            helper.make_tensor("ones", TensorProto.FLOAT, [2], [1.0, 1.0]),
            helper.make_tensor("border", TensorProto.FLOAT, [], [border]),
        ]
        made = helper.make_graph(nodes, "g", [row], [out], held)
        opset = [helper.make_opsetid("", 18)]
        return bytes(helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString())

    original, graph_ = Model(at(0.3)), at(float(np.nextafter(np.float32(0.3), np.float32(1))))
    assert compare(original, graph_, fresh_sample(ROWS, 10_000, seed=0)).max_abs_diff == 0
    assert compare(original, graph_, fresh_sample(ROWS, 10_000, seed=0, graph=graph_)).max_abs_diff == 1


def test_what_stands_for_missing_follows_from_the_definitions() -> None:
    features = FeatureSet(
        (
            Value(column="amount"),
            Value(column="age", fallback=-3.0),
            Calendar(part="hour"),
            Calendar(part="year", column="born"),
            Missing(column="age"),
            Rolling(key="card", agg=Count(), windows=("1d", "7d")),
            Ratio(name="share", numerator="amount", denominator="card_count_1d", fallback=2.0),
        )
    )
    assert fallbacks(features) == (None, -3.0, None, -1.0, None, 0.0, 0.0, 2.0)


def test_golden_rows_catch_a_model_that_scores_otherwise(trees: TrainResult, public_key: Path) -> None:
    bundle = open_bundle(trees.bundle, public_key=public_key)
    open_model(bundle)
    wrong = msgspec.structs.replace(bundle.golden, scores=[*bundle.golden.scores[:-1], 0.1])
    with pytest.raises(BundleError, match="golden rows"):
        open_model(msgspec.structs.replace(bundle, golden=wrong))
