"""scikit-learn models as ONNX graphs that decide as they do, for every float32 input.

skl2onnx rounds two things that a tree can tell apart:

- Histogram gradient boosting compares float32 inputs with float64 thresholds. Rounded to the nearest float32, a
  threshold may come to lie on an input that was above it. Rounded down it never does, and nothing else changes:
  for float32 x, x ≤ t exactly if x ≤ the largest float32 that is no larger than t.
- A scaler's division becomes a product with the reciprocal, and its float64 constants become float32. So the inputs
  of trees behind it are off by a rounding, and some cross a threshold. Here the graph takes the steps that
  scikit-learn takes, each rounded to float32 as NumPy rounds it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx, update_registered_converter
from skl2onnx.algebra.onnx_ops import OnnxAdd, OnnxCast, OnnxClip, OnnxDiv, OnnxIdentity, OnnxMul, OnnxSub
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.proto import onnx_proto
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from mlops.errors import ParityError

__all__ = ["export", "round_down"]

_BOOSTED = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def round_down(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest float32 that is no larger than each value, as float64."""
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float32)
    down = np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return down.astype(np.float64)


def export(model: Any, n_features: int, *, classifier: bool) -> bytes:
    """A fitted classifier or regressor as ONNX, float32 [n, f] in; a classifier's output is called `probabilities`.

    Raises:
        ParityError: it splits by category, or has a part that skl2onnx does not know.
    """
    exact = _exact(model)
    # zipmap would turn the array of probabilities into a list of dictionaries.
    options = {id(exact): {"zipmap": False}} if classifier else None
    try:
        graph = to_onnx(exact, np.zeros((1, n_features), np.float32), options=options)
    except (NotImplementedError, RuntimeError, NameError) as error:  # what its converters raise
        reason = " ".join(str(error).split())
        raise ParityError(
            f"skl2onnx cannot write it as ONNX: {reason[:300]}",
            where=type(model).__name__,
            todo="build the model of parts that it knows",
        ) from None
    written: bytes = graph.SerializeToString()
    return written


def _exact(model: Any) -> Any:
    """A copy that gives the same scores for float32 inputs, and loses nothing when it is written in float32."""
    exact = copy.deepcopy(model)
    for part in _parts(exact, set()):
        if isinstance(part, _BOOSTED) and hasattr(
            part, "_predictors"
        ):  # ensembles keep one that is not fitted
            if part.is_categorical_ is not None and part.is_categorical_.any():
                raise ParityError(
                    "splits by category, which the ONNX graph cannot",
                    where=type(part).__name__,
                    todo="declare the column as OneHot features",
                )
            for predictors in part._predictors:
                for predictor in predictors:
                    nodes = predictor.nodes
                    nodes["num_threshold"] = round_down(nodes["num_threshold"])
        elif isinstance(part, VotingClassifier | VotingRegressor):
            if part.weights is not None:
                part.weights = np.asarray(part.weights)  # skl2onnx takes no list
            if isinstance(part, VotingClassifier):
                part.flatten_transform = False  # of `transform` alone, and the only way that it takes it
    return exact


def _parts(value: Any, seen: set[int]) -> Iterator[BaseEstimator]:
    """The estimators in a fitted estimator, however deep, itself included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, BaseEstimator):
        yield value
    if isinstance(value, list | tuple | dict):
        inner = value.values() if isinstance(value, dict) else value
    elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
        inner = vars(value).values()
    else:
        return
    for one in inner:
        yield from _parts(one, seen)


def _steps(scaler: Any) -> list[tuple[Any, NDArray[np.float64]]]:
    """What a scaler does to its input, in its order: an operation and its constants."""
    steps: list[tuple[Any, NDArray[np.float64] | None]]
    if isinstance(scaler, StandardScaler):  # it rounds its constants, the others do not
        mean = scaler.mean_ if scaler.with_mean else None
        constants = [None if c is None else c.astype(np.float32) for c in (mean, scaler.scale_)]
        steps = list(zip((OnnxSub, OnnxDiv), constants, strict=True))
    elif isinstance(scaler, RobustScaler):
        steps = [(OnnxSub, scaler.center_), (OnnxDiv, scaler.scale_)]
    elif isinstance(scaler, MaxAbsScaler):
        steps = [(OnnxDiv, scaler.scale_)]
    else:
        steps = [(OnnxMul, scaler.scale_), (OnnxAdd, scaler.min_)]
    return [(step, np.asarray(c, np.float64)) for step, c in steps if c is not None]


def _convert_scaler(scope: Any, operator: Any, container: Any) -> None:
    """Each step in float64, rounded to float32: as NumPy does it in place."""
    scaler, opset = operator.raw_operator, container.target_opset
    single: Any = operator.inputs[0]
    for step, constants in _steps(scaler):
        double = OnnxCast(single, to=onnx_proto.TensorProto.DOUBLE, op_version=opset)
        exact = step(double, constants, op_version=opset)
        single = OnnxCast(exact, to=onnx_proto.TensorProto.FLOAT, op_version=opset)
    end: dict[str, Any] = {"op_version": opset, "output_names": [operator.outputs[0].full_name]}
    if getattr(scaler, "clip", False):
        bounds = [np.array(bound, np.float32) for bound in getattr(scaler, "feature_range", (-1, 1))]
        single = OnnxClip(single, *bounds, **end)
    else:
        single = OnnxIdentity(single, **end)
    single.add_to(scope, container)


def _scaler_shape(operator: Any) -> None:
    shape = operator.inputs[0].type.shape
    operator.outputs[0].type = FloatTensorType([shape[0], shape[1]])


for _scaler, _alias in {
    StandardScaler: "SklearnScaler",
    RobustScaler: "SklearnRobustScaler",
    MaxAbsScaler: "SklearnMaxAbsScaler",
    MinMaxScaler: "SklearnMinMaxScaler",
}.items():
    update_registered_converter(_scaler, f"Exact{_alias}", _scaler_shape, _convert_scaler)
