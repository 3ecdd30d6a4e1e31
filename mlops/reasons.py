"""Why a row scores as it does, from the bundle alone: the features that moved its score furthest from a typical one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["REFERENCE_ROWS", "choose_reference"]

REFERENCE_ROWS = 8


def choose_reference(
    features: NDArray[np.float32], scores: NDArray[np.float32], k: int = REFERENCE_ROWS
) -> NDArray[np.float32]:
    """A few typical rows: what `mlops.shapley` compares a row with. The same table gives the same rows.

    The rows are cut into `k` parts of equal size by their score, so that the mean score of the chosen ones is near
    that of all. Of each part it is the row nearest to the part's medians: the least sum of distances, each in standard
    deviations of its feature over all rows. A real row, so no combination that cannot be.

    Args:
        features: rows [n, f], as the model reads them.
        scores: their scores [n].
        k: how many to choose; all rows, if there are no more.

    Returns:
        Rows [min(k, n), f], from the lowest scores to the highest.
    """
    spread = features.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1.0
    chosen = []
    for part in np.array_split(np.argsort(scores, kind="stable"), min(k, len(scores))):
        rows = features[part].astype(np.float64)
        chosen.append(part[np.argmin((np.abs(rows - np.median(rows, axis=0)) / spread).sum(axis=1))])
    return features[chosen]
