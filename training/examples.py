"""Labelled rows to learn from, all at once or in batches of one deterministic order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_ROWS", "ArrayExamples", "Batch", "Examples"]

Floats = NDArray[np.float32]
Batch = tuple[Floats, NDArray[Any]]  # features [b, f], labels [b]

BLOCK_ROWS = 65_536


class Examples(Protocol):
    """n rows of f features with a known label each.

    Fields:
        n_features: f.
        labels: [n], 0 or 1 as int8, or quantities as double.
    """

    n_features: int
    labels: NDArray[Any]

    def __len__(self) -> int: ...

    def arrays(self) -> Batch:
        """All of it: features [n, f] float32 and labels [n]."""

    def blocks(self) -> Iterator[Batch]:
        """All of it in order, some rows at a time: for what needs to see each row once, such as a mean."""

    def batches(self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """An epoch in batches of `size` rows, the last one smaller, shuffled anew by `epoch` and `seed`.

        Of `world` processes, each gets its share of every batch, so that together they see the same batches as one.
        A share can be empty where a batch has fewer rows than there are processes.
        """

    def held_out(self, every: int) -> tuple[Examples, Examples]:
        """These rows without each `every`-th one, and those: what a fit does not learn from, to see when to stop."""

    def fingerprint(self) -> str:
        """What the rows are known by: other rows, or in another order, have another."""


class ArrayExamples:
    """Examples in memory; an epoch is a permutation of them."""

    def __init__(self, features: Floats, labels: NDArray[Any]) -> None:
        self._features, self.labels = features, labels
        self.n_features = features.shape[1]

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> Batch:
        return self._features, self.labels

    def blocks(self) -> Iterator[Batch]:
        for start in range(0, len(self), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield self._features[rows], self.labels[rows]

    def batches(self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for start in range(0, len(order), size):
            rows = order[start : start + size][rank::world]
            yield self._features[rows], self.labels[rows]

    def held_out(self, every: int) -> tuple[ArrayExamples, ArrayExamples]:
        held = np.arange(len(self)) % every == every - 1
        rest, apart = (ArrayExamples(self._features[rows], self.labels[rows]) for rows in (~held, held))
        return rest, apart

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(repr((self._features.shape, self.labels.dtype)).encode(), digest_size=16)
        for array in (self._features, self.labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
