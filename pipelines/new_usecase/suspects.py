"""Columns that know too much: alone they tell the target almost perfectly, as what is written down afterwards does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.new_usecase.guesses import Guess
from pipelines.new_usecase.target import Target

__all__ = ["follows", "suspicion"]

_AUC = 0.97
_R2 = 0.98
_IN_STEP = 0.9999
_MOST_VALUES = 50  # with more, a category's means say more about the rows than about the category

Floats = NDArray[np.float64]


def suspicion(guess: Guess, target: Target) -> str:
    """What a column alone knows of the target, in words; empty where that is not suspicious."""
    known = target.known
    y = target.values[known]
    blank = pc.is_null(guess.values).to_numpy()[known]
    best = 0.0
    for x in (_numbers(guess, known, y), blank.astype(np.float64)):
        if x is not None and np.ptp(x) > 0:
            best = max(best, _auc(y == 1, x) if target.is_class else _r2(y, x))
    if best < (_AUC if target.is_class else _R2):
        return ""
    if target.is_class:
        return f"alone it ranks the rows with an area under the ROC curve of {best:.3f}"
    return f"alone it explains {best:.1%} of the target's variance"


def follows(guess: Guess, time: Guess) -> bool:
    """Whether a number only counts the events' time, so that those to come have values that were never seen."""
    if guess.type not in ("integer", "decimal", "float"):
        return False
    both = pa.table({"x": guess.values, "t": time.values.cast(pa.int64())}).drop_null()
    x, t = (both[name].cast(pa.float64(), safe=False).to_numpy() for name in ("x", "t"))
    if not (len(x) and np.ptp(x) and np.ptp(t)):
        return False
    return abs(float(np.corrcoef(x, t)[0, 1])) > _IN_STEP


def _numbers(guess: Guess, known: NDArray[np.bool_], y: Floats) -> Floats | None:
    """The column [k] as numbers; a category as the target's mean for it."""
    values = guess.values.filter(pa.array(known))
    if guess.type == "text":
        codes = pc.fill_null(values, "").combine_chunks().dictionary_encode()
        code = codes.indices.to_numpy(zero_copy_only=False)
        if len(codes.dictionary) > min(_MOST_VALUES, len(y) / 5):
            return None
        means: Floats = np.bincount(code, y) / np.bincount(code)
        return means[code]
    if guess.type == "timestamp":
        values = values.cast(pa.int64())
    x: Floats = values.cast(pa.float64(), safe=False).to_numpy().copy()
    known_x = np.isfinite(x)
    if not known_x.any():
        return None
    x[~known_x] = np.median(x[known_x])
    return x


def _auc(positive: NDArray[np.bool_], x: Floats) -> float:
    """The area under the ROC curve, in the better direction; ties count half."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    p, n = int(positive.sum()), int((~positive).sum())
    area = float((rank[positive].sum() - p * (p + 1) / 2) / (p * n))
    return max(area, 1 - area)


def _r2(y: Floats, x: Floats) -> float:
    """The share of variance that a line explains, through the values or through their ranks."""

    def ranks(values: Floats) -> Floats:
        _, place = np.unique(values, return_inverse=True)
        return place.astype(np.float64)

    return max(float(np.corrcoef(a, b)[0, 1]) ** 2 for a, b in ((x, y), (ranks(x), ranks(y))))
