"""What slices are cut from: columns and features of a data set, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset

__all__ = ["columns_of"]


def columns_of(data: Dataset, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns that slices may name, of some rows; what is a feature has float32's precision."""
    features = {name: data.features[rows, place] for place, name in enumerate(data.names)}
    return features | {name: values[rows] for name, values in data.columns.items()}
