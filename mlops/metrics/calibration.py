"""Whether a score of .2 means that one in five is positive: Brier score, reliability curve, calibration error."""

from __future__ import annotations

from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mlops.metrics.figures import Floats, Interval, Ints, checked

__all__ = ["Reliability", "brier", "calibration_error", "observed_share", "reliability_bins"]


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """A bin of the reliability curve: events with scores from `low` to `high`, and the share that is positive."""

    low: float
    high: float
    events: int
    positives: int
    mean_score: float
    observed: Interval


def brier(y: ArrayLike, s: ArrayLike) -> float:
    """Brier score, the mean of (s − y)² (Brier, Verification of forecasts expressed in terms of probability, 1950).

    Raises:
        InputError: no events, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    return float(np.mean((scores - labels) ** 2))


def reliability_bins(s: ArrayLike, bins: int = 10) -> Ints:
    """The bin of each score, [n], from 0 for the lowest: at most so many, each with about the same sum of scores.

    So each expects the same number of positives. Bins of as many events each would put nearly all of rare positives
    into one bin, and bins of one width nearly all events. Equal scores are never parted.
    """
    scores = np.maximum(np.asarray(s, np.float64), 0)
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    total = ranked.sum()
    if not total:
        return np.zeros(len(scores), np.int64)
    # By what lies below a score and half of itself, so that one large score does not end a bin that it fills alone.
    begins = np.append(True, ranked[1:] != ranked[:-1])
    group = np.cumsum(begins) - 1
    sums = np.bincount(group, ranked)
    middle = np.cumsum(sums) - sums / 2
    place = np.minimum((middle / total * bins).astype(np.int64), bins - 1)
    found = np.empty(len(scores), np.int64)
    found[order] = np.unique(place, return_inverse=True)[1][group]
    return found


def calibration_error(y: ArrayLike, s: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: the mean over events of |mean score − share positive| of the event's bin.

    The bins are those of `reliability_bins`. (Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian
    Binning, 2015, where they are of one width.)

    Raises:
        InputError: no events, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    return _error(labels, scores, reliability_bins(scores, bins))


def _error(labels: Ints, scores: Floats, place: Ints) -> float:
    return float(np.abs(np.bincount(place, scores - labels)).sum() / len(labels))


def observed_share(positives: int, events: int, drawn: Interval | None) -> Interval:
    """The share of positives in a bin, with the interval that was `drawn`, or Wilson's where none could be.

    Where all events are alike, so is every draw, and an interval without width would claim too much. (Wilson,
    Probable inference, the law of succession, and statistical inference, 1927.)
    """
    if drawn is not None and 0 < positives < events:
        return drawn
    confidence = 0.9 if drawn is None else drawn.confidence
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = positives / events, z * z / events
    middle = (share + spread / 2) / (1 + spread)
    half = float(np.sqrt(share * (1 - share) * spread + spread * spread / 4)) / (1 + spread)
    return Interval(
        value=share, low=max(0.0, middle - half), high=min(1.0, middle + half), confidence=confidence
    )
