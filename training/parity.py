"""Whether an ONNX graph says what the original says."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from mlops.errors import ParityError
from mlops.model import Floats, Model

__all__ = ["Parity", "compare", "fresh_sample"]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """The largest difference between two scorers, as `compare` measures it, and over how many rows."""

    rows: int
    max_abs_diff: float


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


def compare(
    predict: Callable[[Floats], Floats], graph: bytes, sample: Floats, *, scale: float = 1.0
) -> Parity:
    """The largest difference between `predict` and the ONNX graph over `sample` [n, f].

    A difference counts as a share of `scale`, or of the score where that is larger: so it is absolute for
    probabilities, and no finer than single precision for quantities.

    Raises:
        BundleError: ONNX Runtime does not take the graph.
        ParityError: a score is not a finite number per row.
    """
    ours, theirs = Model(graph)(sample), predict(sample)
    if ours.shape != (len(sample),) or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ParityError("a score is not a finite number per row", where="exported graph")
    difference = np.abs(ours.astype(np.float64) - theirs) / np.maximum(np.abs(theirs), scale)
    return Parity(rows=len(sample), max_abs_diff=float(difference.max()))
