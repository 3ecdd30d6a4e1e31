"""One shape for every exported graph: `features` float32 [n, f] → `score` float32 [n]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mlops.errors import ParityError

__all__ = ["behind_score", "serving_graph", "tree_splits"]

_INPUT, _OUTPUT = "features", "score"


def serving_graph(model: bytes, *, output: str = "", column: int | None = None) -> bytes:
    """The graph with its input and output named and shaped as serving expects them, and nothing else.

    Args:
        model: an ONNX model with one input float32 [n, f].
        output: the output that holds the scores, if there are several; float32 [n], [n, 1] or, with `column`, [n, k].
        column: which of its columns is the score.

    Raises:
        ParityError: the graph has another shape, or an operator that ONNX does not know.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialised]
    outputs = [value for value in graph.output if not output or value.name == output]
    if len(inputs) != 1 or len(outputs) != 1:
        names = [value.name for value in (*inputs, *graph.output)]
        raise ParityError(
            f"expected one input and one output of scores, found {names}", where="exported graph"
        )
    width = inputs[0].type.tensor_type.shape.dim[1].dim_value
    _rename(proto, inputs[0].name, _INPUT)
    raw = outputs[0].name
    if raw == _OUTPUT:
        raw = "raw_score"
        _rename(proto, _OUTPUT, raw)
    if column is not None:
        graph.initializer.append(helper.make_tensor("score_column", TensorProto.INT64, [], [column]))
        graph.node.append(helper.make_node("Gather", [raw, "score_column"], [_OUTPUT], axis=1))
    else:
        graph.initializer.append(helper.make_tensor("score_shape", TensorProto.INT64, [1], [-1]))
        graph.node.append(helper.make_node("Reshape", [raw, "score_shape"], [_OUTPUT]))
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, ["n", width]))
    graph.output.append(helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["n"]))
    del proto.metadata_props[:]
    return _checked(proto)


def behind_score(
    model: bytes, nodes: Sequence[NodeProto], constants: Mapping[str, NDArray[Any]], *, reads: str
) -> bytes:
    """A graph of ours with `nodes` put behind it: they read its score as `reads`, and give `score`, float32 [n].

    Raises:
        ParityError: it is no valid graph any more.
    """
    proto = onnx.load_from_string(model)
    _rename(proto, _OUTPUT, reads)
    proto.graph.initializer.extend(numpy_helper.from_array(held, name) for name, held in constants.items())
    proto.graph.node.extend(nodes)
    return _checked(proto)


def _checked(proto: ModelProto) -> bytes:
    for node in proto.graph.node:  # exporters leave stack traces in here, with the paths of the machine
        node.doc_string = ""
        del node.metadata_props[:]
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ParityError(f"is not valid ONNX: {reason}", where="exported graph") from None
    return proto.SerializeToString()


def tree_splits(model: bytes) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where the trees of a graph split the features as they come in: the feature and the value of each split.

    Without those of trees behind a scaler or behind a choice of columns, whose inputs are others.
    """
    columns, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for node in onnx.load_from_string(model).graph.node:
        if node.op_type.startswith("TreeEnsemble") and node.input[0] == _INPUT:
            held: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            inner = np.array([mode != b"LEAF" for mode in held["nodes_modes"]])
            columns.append(np.array(held["nodes_featureids"], np.int64)[inner])
            values.append(np.array(held["nodes_values"], np.float32)[inner])
    pairs = np.rec.fromarrays([np.concatenate(columns), np.concatenate(values)])
    unique = np.unique(pairs)
    return unique["f0"], unique["f1"]


def _rename(proto: ModelProto, old: str, new: str) -> None:
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
