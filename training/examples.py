"""Labelled rows to learn from, all at once or in batches of one deterministic order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayExamples", "Examples"]

Floats = NDArray[np.float32]


class Examples(Protocol):
    """n rows of f features with a known label each.

    Fields:
        n_features: f.
        labels: [n], 0 or 1 as int8, or quantities as double.
    """

    n_features: int
    labels: NDArray[Any]

    def __len__(self) -> int: ...

    def arrays(self) -> tuple[Floats, NDArray[Any]]:
        """All of it: features [n, f] float32 and labels [n]."""

    def batches(
        self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Floats, NDArray[Any]]]:
        """An epoch in batches of `size` rows, the last one smaller, shuffled anew by `epoch` and `seed`.

        Of `world` processes, each gets its share of every batch, so that together they see the same batches as one.
        """


class ArrayExamples:
    """Examples in memory."""

    def __init__(self, features: Floats, labels: NDArray[Any]) -> None:
        self._features, self.labels = features, labels
        self.n_features = features.shape[1]

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> tuple[Floats, NDArray[Any]]:
        return self._features, self.labels

    def batches(
        self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Floats, NDArray[Any]]]:
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for start in range(0, len(order), size):
            rows = order[start : start + size][rank::world]
            yield self._features[rows], self.labels[rows]
