"""A bundle's model scores any number of rows, some at a time."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from mlops.model import ROWS, Model

COLUMNS = 2


def graph(*, counting: bool) -> bytes:
    """The first feature as the score, or how many rows the graph was given."""
    first = helper.make_node("Gather", ["features", "zero"], ["first"], axis=1)
    if counting:
        nodes = [
            first,
            helper.make_node("Shape", ["first"], ["shape"]),
            helper.make_node("Cast", ["shape"], ["rows"], to=TensorProto.FLOAT),
            helper.make_node("Expand", ["rows", "shape"], ["score"]),
        ]
    else:
        nodes = [first, helper.make_node("Identity", ["first"], ["score"])]
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, COLUMNS])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [helper.make_tensor("zero", TensorProto.INT64, [], [0])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def test_many_rows_are_scored_in_blocks_of_bounded_size() -> None:
    seen = Model(graph(counting=True))(np.zeros((2 * ROWS + 3, COLUMNS), np.float32))
    assert seen.tolist() == [ROWS] * 2 * ROWS + [3] * 3


def test_the_scores_of_blocks_stand_in_the_order_of_the_rows() -> None:
    features = np.arange(COLUMNS * (2 * ROWS + 3), dtype=np.float32).reshape(-1, COLUMNS)
    scores = Model(graph(counting=False))(features)
    assert scores.dtype == np.float32
    assert (scores == features[:, 0]).all()


def test_no_row_has_no_score() -> None:
    assert Model(graph(counting=False))(np.zeros((0, COLUMNS), np.float32)).shape == (0,)
