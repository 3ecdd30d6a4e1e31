"""Every exported graph ends in one shape, or is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlops.errors import ParityError
from mlops.model import Model
from training.onnx_graph import behind_score, serving_graph, tree_splits
from training.trainers.sklearn_onnx import export


def graph(operator: str = "Sigmoid", *, output: str = "y", inputs: tuple[str, ...] = ("x",)) -> bytes:
    """`operator` of a row of two, summed up to [n, 1] by a product with ones."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in inputs]
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [2, 1], [1.0, 1.0])
    nodes = [
        helper.make_node("MatMul", [inputs[0], "ones"], ["sum"]),
        helper.make_node(operator, ["sum"], [output], doc_string="/home/somebody/model.py, line 3"),
    ]
    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 1])
    model = helper.make_model(
        helper.make_graph(nodes, "g", values, [out], [ones]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("output", ["y", "score"])
def test_input_and_output_get_their_names_and_the_output_loses_its_column(output: str) -> None:
    rows = np.array([[0, 0], [1, -1], [100, 1]], np.float32)
    assert Model(serving_graph(graph(output=output)))(rows) == pytest.approx([0.5, 0.5, 1])


def test_a_column_of_probabilities_is_picked_out() -> None:
    model = serving_graph(graph("Identity"), column=0)
    assert Model(model)(np.array([[0.25, 0.5]], np.float32)).tolist() == [0.75]


def test_nothing_of_the_machine_stays_in_the_graph() -> None:
    assert b"/home/somebody" in graph()
    assert b"/home/somebody" not in serving_graph(graph())


def test_an_operator_that_onnx_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ParityError, match="Log1p"):
        serving_graph(graph("Log1p"))


def test_a_graph_with_two_inputs_is_refused() -> None:
    with pytest.raises(ParityError, match="one input"):
        serving_graph(graph(inputs=("x", "z")))


def test_the_batch_is_free_and_the_width_is_not() -> None:
    proto = onnx.load_from_string(serving_graph(graph()))
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("n", 2)
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["features", "score"]


def test_the_splits_of_trees_that_read_the_features_are_known() -> None:
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    labels = (rows[:, 1] > 15).astype(int)
    tree = DecisionTreeClassifier().fit(rows, labels)
    columns, values = tree_splits(
        serving_graph(export(tree, 2, classifier=True), output="probabilities", column=1)
    )
    assert columns.tolist() == [tree.tree_.feature[0]]
    assert values.tolist() == [tree.tree_.threshold[0]]
    behind = make_pipeline(StandardScaler(), tree).fit(rows, labels)
    scaled = serving_graph(export(behind, 2, classifier=True), output="probabilities", column=1)
    assert [len(found) for found in tree_splits(scaled)] == [0, 0]


def test_nodes_behind_the_score_change_the_score() -> None:
    nodes = [helper.make_node("Mul", ["plain", "two"], ["score"])]
    model = behind_score(serving_graph(graph()), nodes, {"two": np.float32(2)}, reads="plain")
    assert Model(model)(np.zeros((3, 2), np.float32)).tolist() == [1, 1, 1]
