"""What a prediction of quantities is worth: numbers from labels and predictions, in NumPy alone.

Arrays are 1-d and of one length: `y` labels, `p` predictions, in the label's unit. The definitions are
scikit-learn's; intervals are percentile bootstrap intervals over single events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.errors import InputError
from mlops.metrics import Interval

__all__ = ["bootstrap_rmse", "gain", "mae", "mape", "paired_rmse_gain", "r2", "rmse"]

Floats = NDArray[np.float64]

_CHUNK = 4_000_000  # resampled weights held at once, in numbers


def rmse(y: ArrayLike, p: ArrayLike) -> float:
    """Root mean squared error.

    Raises:
        InputError: no events, a number that is not finite, or the arrays do not fit each other.
    """
    labels, predictions = _checked(y, p)
    return float(np.sqrt(np.mean((labels - predictions) ** 2)))


def mae(y: ArrayLike, p: ArrayLike) -> float:
    """Mean absolute error.

    Raises:
        InputError: as for `rmse`.
    """
    labels, predictions = _checked(y, p)
    return float(np.mean(np.abs(labels - predictions)))


def r2(y: ArrayLike, p: ArrayLike) -> float | None:
    """Coefficient of determination, 1 − Σ(y − p)² / Σ(y − ȳ)²; None where all labels are one number.

    Raises:
        InputError: as for `rmse`.
    """
    labels, predictions = _checked(y, p)
    spread = float(np.sum((labels - labels.mean()) ** 2))
    return 1 - float(np.sum((labels - predictions) ** 2)) / spread if spread else None


def mape(y: ArrayLike, p: ArrayLike) -> float | None:
    """Mean absolute error as a share of the label; None where a label is 0.

    Raises:
        InputError: as for `rmse`.
    """
    labels, predictions = _checked(y, p)
    return float(np.mean(np.abs((labels - predictions) / labels))) if labels.all() else None


def bootstrap_rmse(
    y: ArrayLike, p: ArrayLike, *, rounds: int = 200, confidence: float = 0.9, seed: int = 0
) -> Interval:
    """Root mean squared error with a bootstrap interval.

    Raises:
        InputError: as for `rmse`.
    """
    labels, predictions = _checked(y, p)
    squares = (labels - predictions) ** 2
    return _bootstrap(lambda w: np.sqrt(w @ squares), len(labels), rounds, confidence, seed)


def paired_rmse_gain(
    y: ArrayLike,
    p: ArrayLike,
    other: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
) -> Interval:
    """The `gain` of `p` over `other` in root mean squared error, with a paired bootstrap interval.

    Raises:
        InputError: as for `rmse`.
    """
    labels, predictions = _checked(y, p)
    _, others = _checked(y, other)
    ours, theirs = (labels - predictions) ** 2, (labels - others) ** 2

    def gains(weights: Floats) -> Floats:
        return _gain(np.sqrt(weights @ ours), np.sqrt(weights @ theirs))

    return _bootstrap(gains, len(labels), rounds, confidence, seed)


def gain(error: float, other: float) -> float:
    """How much smaller an error is than another, as a share of the larger: from −1 to 1, 0 where both are 0."""
    return float(_gain(np.array(error, np.float64), np.array(other, np.float64)))


def _gain(error: Floats, other: Floats) -> Floats:
    larger = np.maximum(error, other)
    return np.divide(other - error, larger, out=np.zeros_like(larger), where=larger > 0)


def _bootstrap(
    statistic: Callable[[Floats], Floats], n: int, rounds: int, confidence: float, seed: int
) -> Interval:
    """Of a statistic that takes weights [rounds, n], each row a whole, and gives [rounds]."""
    tail = (1 - confidence) / 2
    drawn = np.concatenate([statistic(weights) for weights in _resampled(n, rounds, seed)])
    low, high = np.quantile(drawn, [tail, 1 - tail])
    value = float(statistic(np.full((1, n), 1 / n))[0])
    return Interval(value=value, low=float(low), high=float(high), confidence=confidence)


def _resampled(n: int, rounds: int, seed: int) -> Iterator[Floats]:
    """Weights [≤ rounds, n] of events under resampling."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // n)
    for start in range(0, rounds, chunk):
        size = min(chunk, rounds - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n) / n


def _checked(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    labels, predictions = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise InputError(f"{labels.shape} labels do not fit {predictions.shape} predictions", where="metrics")
    if not len(labels):
        raise InputError("no events", where="metrics")
    for name, numbers in (("labels", labels), ("predictions", predictions)):
        if not np.isfinite(numbers).all():
            raise InputError("not a number", where=name)
    return labels, predictions
