"""A bundle's model in ONNX Runtime: what serving answers with, and what every other room compares with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlops.bundle import Bundle
from mlops.errors import BundleError
from mlops.quiet import telemetry_off

telemetry_off()  # ONNX Runtime reads the switch when it is imported

import onnxruntime as ort  # noqa: E402
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # noqa: E402

__all__ = ["ROWS", "Floats", "Model", "open_model"]

Floats = NDArray[np.float32]

ROWS = 16_384
"""How many rows are scored at once: an isotonic calibration compares each with each of its hundreds of steps."""

# ONNX Runtime's exceptions have no base class of their own; a wrong name of an input is a ValueError.
_REFUSALS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ValueError,
)
_SILENT = 4


class Model:
    """A graph that takes `features` float32 [n, f] and gives `score` float32 [n].

    It runs on one thread, the caller's: a request is a few rows, and processes are how serving grows.

    Raises:
        BundleError: ONNX Runtime does not take the graph, or its input or output is another.
    """

    def __init__(self, graph: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = _SILENT
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _REFUSALS as error:
            raise _refusal(error) from None
        inputs = [(i.name, i.type) for i in self._session.get_inputs()]
        outputs = [o.name for o in self._session.get_outputs()]
        if inputs != [("features", "tensor(float)")] or "score" not in outputs:
            raise BundleError(
                f"the model takes {inputs} and gives {outputs}, not float32 `features` and `score`"
            )

    def __call__(self, features: Floats) -> Floats:
        """Scores [n] of features [n, f], however many: what a graph makes on the way is of `ROWS` rows at most.

        Raises:
            BundleError: the graph does not take so many features.
        """
        if len(features) > ROWS:
            blocks = [features[start : start + ROWS] for start in range(0, len(features), ROWS)]
            return np.concatenate([self(block) for block in blocks])
        try:
            scores: Floats = self._session.run(["score"], {"features": features})[0]
        except _REFUSALS as error:
            raise _refusal(error) from None
        return scores


def open_model(bundle: Bundle) -> Model:
    """The model of a bundle, which gives the golden rows the scores that the bundle was signed with.

    Raises:
        BundleError: it does not, or ONNX Runtime does not take it.
    """
    model, golden = Model(bundle.model), bundle.golden
    if not golden.features or {len(row) for row in golden.features} != {len(bundle.features.names)}:
        raise BundleError(
            f"rows must have {len(bundle.features.names)} features", where=bundle.path / "golden.json"
        )
    scores = model(np.array(golden.features, np.float32))
    if scores.shape != (len(golden.scores),):
        raise BundleError(f"gives {scores.shape} scores for {len(golden.scores)} rows", where=bundle.path)
    worst = float(np.abs(scores - np.array(golden.scores)).max())
    if not worst <= golden.tolerance:
        raise BundleError(
            f"golden rows score up to {worst:.3g} off the golden scores, {golden.tolerance:.3g} is allowed",
            where=bundle.path,
        )
    return model


def _refusal(error: Exception) -> BundleError:
    return BundleError(f"ONNX Runtime: {str(error).strip().splitlines()[0]}", where="model.onnx")
