"""What all metrics share: an estimate with its interval, and the check that labels and scores fit each other."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.errors import InputError

__all__ = ["Floats", "Interval", "Ints", "Masks", "checked"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate, and the percentile bootstrap interval around it that holds `confidence`."""

    value: float
    low: float
    high: float
    confidence: float


def checked(y: ArrayLike, s: ArrayLike, *, need_positive: bool = True) -> tuple[Ints, Floats]:
    """Labels and scores as arrays.

    Raises:
        InputError: none, of different lengths, a score that is no number, or no positive where one is needed.
    """
    labels, scores = np.asarray(y), np.asarray(s, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise InputError(f"{labels.shape} labels do not fit {scores.shape} scores", where="metrics")
    if not len(labels):
        raise InputError("no events", where="metrics")
    if not np.isfinite(scores).all():
        raise InputError("not a number", where="scores")
    labels = labels.astype(np.int64)
    if need_positive and not labels.any():
        raise InputError("no positive label: precision and recall are not defined", where="labels")
    return labels, scores
