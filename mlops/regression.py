"""What a prediction of quantities is worth: numbers from labels and predictions, in NumPy alone.

Arrays are 1-d and of one length: `y` labels, `p` predictions, in the label's unit. The definitions are
scikit-learn's; intervals are percentile bootstrap intervals over single events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.errors import InputError
from mlops.metrics import Interval, bootstrap
from mlops.metrics.bootstrap import Draws, Statistic

__all__ = [
    "bootstrap_rmse",
    "error_statistic",
    "gain",
    "mae",
    "mape",
    "paired_rmse_gain",
    "prediction_bins",
    "r2",
    "rmse",
]

Floats = NDArray[np.float64]


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


def error_statistic(y: ArrayLike, p: ArrayLike, rows: NDArray[Any] | slice = slice(None)) -> Statistic:
    """`rmse`, `mae`, `r2` and `bias` (the mean of p − y) of some rows, for `mlops.metrics.bootstrap`, events alone.

    Raises:
        InputError: as for `rmse`.
    """
    labels, predictions = _checked(np.asarray(y)[rows], np.asarray(p)[rows])
    error, centred = predictions - labels, labels - labels.mean()
    terms = np.column_stack([np.ones(len(error)), error**2, np.abs(error), error, centred, centred**2])

    def statistic(draws: Draws) -> dict[str, Floats]:
        n, squares, absolute, signed, sums, spreads = (draws.weights[:, rows] @ terms).T
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = spreads - sums**2 / n
            return {
                "rmse": np.sqrt(squares / n),
                "mae": absolute / n,
                "r2": 1 - np.divide(squares, spread, out=np.full(len(n), np.nan), where=spread > 1e-12 * n),
                "bias": signed / n,
            }

    return statistic


def prediction_bins(p: ArrayLike, bins: int = 10) -> NDArray[np.int64]:
    """The bin of each prediction, [n], from 0 for the lowest: at most `bins` of as many events; equal ones together.

    Raises:
        InputError: a prediction that is not finite.
    """
    _, predictions = _checked(p, p)
    _, group, counts = np.unique(predictions, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    place = np.minimum((middle / len(predictions) * bins).astype(np.int64), bins - 1)
    return np.unique(place, return_inverse=True)[1][group]


def bootstrap_rmse(
    y: ArrayLike, p: ArrayLike, *, rounds: int = 200, confidence: float = 0.9, seed: int = 0
) -> Interval:
    """Root mean squared error with a bootstrap interval.

    Raises:
        InputError: as for `rmse`.
    """
    statistic = error_statistic(y, p)
    return _bootstrap(
        lambda draws: {"": statistic(draws)["rmse"]}, len(np.asarray(y)), rounds, confidence, seed
    )


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
    ours, theirs = error_statistic(y, p), error_statistic(y, other)
    return _bootstrap(
        lambda draws: {"": _gain(ours(draws)["rmse"], theirs(draws)["rmse"])},
        len(np.asarray(y)),
        rounds,
        confidence,
        seed,
    )


def gain(error: float, other: float) -> float:
    """How much smaller an error is than another, as a share of the larger: from −1 to 1, 0 where both are 0."""
    return float(_gain(np.array(error, np.float64), np.array(other, np.float64)))


def _gain(error: Floats, other: Floats) -> Floats:
    larger = np.maximum(error, other)
    return np.divide(other - error, larger, out=np.zeros_like(larger), where=larger > 0)


def _bootstrap(statistic: Statistic, n: int, rounds: int, confidence: float, seed: int) -> Interval:
    return bootstrap([statistic], np.arange(n), rounds=rounds, confidence=confidence, seed=seed)[0][""]


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
