"""Shapley values of a score: what each feature adds to it, compared with a few reference rows, for any model.

The game is the interventional one (Lundberg & Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017;
Janzing et al., Feature Relevance Quantification in Explainable AI, AISTATS 2020): a coalition of features has its
values from the row and the others from a reference row, and is worth the model's score of that mixture. Per reference
row, features in which both are equal add nothing and are left out. Of the d that remain,

- all 2^d coalitions are scored, if there is room for so many: then the values are exact;
- otherwise a sample of them, each with its complement, and the values are the weighted least squares fit (KernelSHAP).
  It is exact where features interact in pairs only (Mayer & Wüthrich, Shapley Values: Paired-Sampling Approximations,
  2025). The sample spends as much on each size of coalition, after the leverage scores of Musco & Witter (Provably
  Accurate Shapley Value Estimation via Leverage Score Sampling, ICLR 2025), and takes none twice.

Either way the values are a fixed linear map of the coalitions' scores, so a row costs one call of the model. They add
up to the score less the mean score of the reference rows, always. They are in the score's own unit: for classes in
probability, as thresholds are, not in log-odds, where a score of 0 or 1 has no place and which a calibrated model
or a regression does not have. Features that are strongly correlated are mixed into rows that never occur.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUDGET", "Explainer", "Floats"]

Floats = NDArray[np.float32]
BUDGET = 384
"""Scores that a row may cost: about half a millisecond of a hundred trees on one core."""


class Explainer:
    """Shapley values of a model's scores against reference rows. The same row has the same values, in any process.

    Args:
        model: scores [n] of features [n, f].
        reference: rows [k, f]; see `mlops.reasons.choose_reference`.
        budget: about how many scores a row may cost. What a fit of d features needs at least, 4 d for each
            reference row, is spent in any case.
        seed: of the sample.

    Raises:
        ValueError: there is no reference row.
    """

    def __init__(
        self, model: Callable[[Floats], Floats], reference: Floats, *, budget: int = BUDGET, seed: int = 0
    ) -> None:
        self.reference = np.ascontiguousarray(reference, np.float32)
        if self.reference.ndim != 2 or not len(self.reference):
            raise ValueError(f"reference rows must be [k, f] with k of at least 1, not {reference.shape}")
        self._model = model
        self._worth = model(self.reference).astype(np.float64)
        self._room = budget // len(self.reference)
        self._seed = seed

    @property
    def base(self) -> float:
        """The mean score of the reference rows: what the contributions start from."""
        return float(self._worth.mean())

    def contributions(self, row: Floats) -> NDArray[np.float64]:
        """What each feature of a row [f] adds to its score [f]; the sum is the score less `base`.

        Raises:
            ValueError: the row has another number of features than the reference rows.
        """
        row = np.asarray(row, np.float32)
        if row.shape != self.reference.shape[1:]:
            raise ValueError(f"a row must be {self.reference.shape[1:]}, not {row.shape}")
        differ = [np.flatnonzero(row != other) for other in self.reference]
        designs = [
            _design(len(at), self._room, self._seed + place) if len(at) else None
            for place, at in enumerate(differ)
        ]
        rows = np.empty((1 + sum(len(design.members) for design in designs if design), len(row)), np.float32)
        rows[0] = row
        end = 1
        for other, at, design in zip(self.reference, differ, designs, strict=True):
            if design is not None:
                begin, end = end, end + len(design.members)
                rows[begin:end] = other
                rows[begin:end, at] = np.where(design.members, row[at], other[at])
        scores = self._model(rows).astype(np.float64)
        total = np.zeros(len(row))
        end = 1
        for worth, at, design in zip(self._worth, differ, designs, strict=True):
            if design is not None:
                begin, end = end, end + len(design.members)
                total[at] += design.weights @ (scores[begin:end] - worth) + design.share * (scores[0] - worth)
        return total / len(self.reference)

    def importance(self, rows: Floats) -> NDArray[np.float64]:
        """How much each feature moves the scores of rows [n, f]: shares [f] of the mean |contribution|, which sum to 1.

        Where nothing moves them, all shares are equal.

        Raises:
            ValueError: there are no rows, or they have another number of features than the reference rows.
        """
        if not len(rows):
            raise ValueError("the importance of features is over one row or more")
        moved = np.mean([np.abs(self.contributions(row)) for row in rows], axis=0)
        total = moved.sum()
        return moved / total if total > 0 else np.full(len(moved), 1 / len(moved))


class _Design(NamedTuple):
    """Which coalitions of d features are scored, and how values follow: weights @ worth + share * that of all."""

    members: NDArray[np.bool_]  # [m, d], neither nobody nor all
    weights: NDArray[np.float64]  # [d, m]
    share: NDArray[np.float64]  # [d]


@lru_cache(maxsize=512)
def _design(d: int, room: int, seed: int) -> _Design:
    if 2**d - 2 <= room:
        return _all_coalitions(d)
    return _sampled(d, max(room // 2, 2 * d), np.random.default_rng((seed, d)))


def _all_coalitions(d: int) -> _Design:
    """Shapley's formula: 1 / (d * C(d - 1, s)) for joining a coalition of size s."""
    members = (np.arange(1, 2**d - 1)[:, None] >> np.arange(d) & 1).astype(bool)
    joining = np.array([1 / (d * comb(d - 1, size)) for size in range(d)])
    size = members.sum(axis=1)[:, None]
    weights = np.where(members, joining[size - 1], -joining[size % d])
    return _Design(members, np.ascontiguousarray(weights.T), np.full(d, 1 / d))


def _sampled(d: int, pairs: int, random: np.random.Generator) -> _Design:
    """Coalitions and their complements, fitted with the Shapley kernel over the share of a size that was drawn."""
    of_size = [comb(d, size) // (2 if 2 * size == d else 1) for size in range(1, d // 2 + 1)]
    members, kernel = [], []
    for size, (drawn, there) in enumerate(zip(_spread(pairs, of_size), of_size, strict=True), start=1):
        for chosen in _draw(d, size, drawn, there, random):
            coalition = np.zeros(d, bool)
            coalition[list(chosen)] = True
            members += [coalition, ~coalition]
            kernel += [(d - 1) / (comb(d, size) * size * (d - size)) * there / drawn] * 2
    z, w = np.array(members), np.array(kernel)
    # The least squares fit under the condition that the values add up to the worth of all.
    inverse = np.linalg.pinv((z.T * w) @ z.astype(np.float64), hermitian=True)
    free = inverse @ (z.T * w)
    share = inverse.sum(axis=1) / inverse.sum()
    return _Design(z, free - np.outer(share, free.sum(axis=0)), share)


def _spread(pairs: int, of_size: list[int]) -> list[int]:
    """As many pairs of each size, as far as there are so many; the smallest sizes run out first."""
    drawn = [0] * len(of_size)
    left = min(pairs, sum(of_size))
    for place, there in enumerate(of_size):
        drawn[place] = min(there, -(-left // (len(of_size) - place)))
        left -= drawn[place]
    return drawn


def _draw(d: int, size: int, drawn: int, there: int, random: np.random.Generator) -> list[tuple[int, ...]]:
    """Different coalitions of one size, of which none is another's complement."""
    if 3 * drawn >= there:
        every = list(combinations(range(d), size))[
            :there
        ]  # of half the features: the first half is no complement
        return [every[at] for at in sorted(random.choice(there, drawn, replace=False))]
    found: dict[tuple[int, ...], None] = {}
    while len(found) < drawn:
        chosen = sorted(random.permutation(d)[:size].tolist())
        if 2 * size == d and chosen[0] != 0:
            chosen = sorted(set(range(d)) - set(chosen))
        found[tuple(chosen)] = None
    return list(found)
