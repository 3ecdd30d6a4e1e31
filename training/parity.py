"""Whether an ONNX graph says what the original says."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from mlops.bundle import Bundle
from mlops.errors import BundleError, ParityError

__all__ = ["Parity", "check_golden", "compare", "fresh_sample", "onnx_scores"]

Floats = NDArray[np.float32]

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


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """The largest absolute difference between two scorers, and over how many rows."""

    rows: int
    max_abs_diff: float


def onnx_scores(model: bytes, features: Floats) -> Floats:
    """Scores [n] of features [n, f], by ONNX Runtime on one thread as in serving.

    Raises:
        ParityError: ONNX Runtime does not take the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        scores: Floats = session.run(["score"], {"features": features})[0]
    except _REFUSALS as error:
        raise ParityError(f"ONNX Runtime does not take it: {error}", where="exported graph") from None
    return scores


def fresh_sample(features: Floats, rows: int, *, seed: int) -> Floats:
    """`rows` rows that look like `features` [n, f], half of them as they are, half of them altered.

    Altered: each value scaled by up to a tenth either way, a fifth of the values taken from another row, and some
    moved by the smallest step that float32 knows, to land on the other side of a threshold.
    """
    rng = np.random.default_rng(seed)
    real = features[rng.integers(0, len(features), rows - rows // 2)]
    altered = features[rng.integers(0, len(features), rows // 2)]
    others = features[rng.integers(0, len(features), rows // 2)]
    altered = np.where(rng.random(altered.shape) < 0.2, others, altered)
    altered = altered * rng.uniform(0.9, 1.1, altered.shape).astype(np.float32)
    steps = np.nextafter(real, rng.choice(np.array([-np.inf, np.inf], np.float32), real.shape))
    real = np.where(rng.random(real.shape) < 0.1, steps, real)
    return np.concatenate([real, altered]).astype(np.float32)


def compare(predict: Callable[[Floats], Floats], model: bytes, sample: Floats) -> Parity:
    """The largest difference between `predict` and the ONNX graph over `sample` [n, f].

    Raises:
        ParityError: ONNX Runtime does not take the graph, or a score is not a finite number per row.
    """
    ours, theirs = onnx_scores(model, sample), predict(sample)
    if ours.shape != (len(sample),) or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ParityError("a score is not a finite number per row", where="exported graph")
    difference = np.abs(ours.astype(np.float64) - theirs)
    return Parity(rows=len(sample), max_abs_diff=float(difference.max()))


def check_golden(bundle: Bundle) -> None:
    """Whether the bundle's model gives its golden rows the scores that it was signed with.

    Raises:
        BundleError: it does not.
    """
    golden = bundle.golden
    scores = onnx_scores(bundle.model, np.array(golden.features, np.float32))
    worst = float(np.abs(scores - np.array(golden.scores)).max())
    if not worst <= golden.tolerance:
        raise BundleError(
            f"golden rows score up to {worst:.2g} off, {golden.tolerance:g} is allowed", where=bundle.path
        )
