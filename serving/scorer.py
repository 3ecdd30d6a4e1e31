"""A bundle made ready to score: its model in ONNX Runtime, its checks, its features and its thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from mlops.bundle import Bundle
from mlops.errors import BundleError, InputError
from serving.events import EventReader
from serving.features import OnlineFeatures
from serving.plan import StorePlan

__all__ = ["Scorer"]

_ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_WARM_UP_RUNS = 20


class Scorer:
    """What answers requests: one bundle under one registry version.

    The model runs on one thread, the caller's: a request is a few rows, and processes are how serving grows.

    Raises:
        BundleError: the model does not load, does not take these features, or gives other scores than the golden
            ones.
    """

    def __init__(self, bundle: Bundle, version: str, plan: StorePlan) -> None:
        self.bundle = bundle
        self.version = version
        self.features = OnlineFeatures(bundle.features, bundle.schema, plan)
        self.reader = EventReader(bundle.schema)
        self.decide = bundle.decisions.decide
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
            self._check_model()
        except _ORT_ERRORS as error:
            reason = str(error).strip().splitlines()[0]
            raise BundleError(f"ONNX Runtime: {reason}", where=bundle.path / "model.onnx") from None

    def score(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """The scores of rows of features [n, f].

        Raises:
            InputError: a feature is beyond single precision, which the model reads.
            BundleError: the model gave a score that is no number.
        """
        with np.errstate(over="ignore"):
            matrix = np.asarray(rows, dtype=np.float32)
        if not np.isfinite(matrix).all():
            name = self.features.names[int(np.argwhere(~np.isfinite(matrix))[0][1])]
            raise InputError("is beyond single precision", where=name)
        scores = self._run(matrix)
        if not np.isfinite(scores).all():
            raise BundleError("the model gave a score that is not a number", where=self.bundle.path)
        return [float(score) for score in scores]

    def _run(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(["score"], {"features": matrix})[0]
        return scores

    def _check_model(self) -> None:
        where = self.bundle.path / "model.onnx"
        inputs = [(i.name, i.type) for i in self._session.get_inputs()]
        if inputs != [("features", "tensor(float)")] or "score" not in [
            o.name for o in self._session.get_outputs()
        ]:
            raise BundleError(f"takes {inputs}, not float32 `features`, or gives no `score`", where=where)
        golden, names = self.bundle.golden, self.features.names
        if not golden.features or {len(row) for row in golden.features} != {len(names)}:
            raise BundleError(f"rows must have {len(names)} features", where=self.bundle.path / "golden.json")
        matrix = np.asarray(golden.features, dtype=np.float32)
        expected = np.asarray(golden.scores, dtype=np.float64)
        scores = self._run(matrix)
        if scores.shape != expected.shape:
            raise BundleError(f"gives scores of shape {scores.shape} for {matrix.shape}", where=where)
        off = float(np.max(np.abs(scores - expected)))
        if not off <= golden.tolerance:
            raise BundleError(
                f"is {off:.3g} off the golden scores, {golden.tolerance:.3g} is allowed", where=where
            )
        for _ in range(_WARM_UP_RUNS):
            self._run(matrix[:1])
