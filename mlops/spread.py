"""How far a headline figure varies for reasons that are not the model: other days, another seed."""

from __future__ import annotations

import statistics

import msgspec

__all__ = ["Spread"]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The headline figure of one candidate with its chosen parameters, measured more than once.

    Fields:
        folds: on each validation fold, the latest first.
        seeds: the mean over these folds, for each of several seeds of the fit.
    """

    folds: tuple[float, ...]
    seeds: tuple[float, ...]

    @property
    def over_folds(self) -> float:
        """The standard deviation over the folds, 0 for fewer than two."""
        return statistics.stdev(self.folds) if len(self.folds) > 1 else 0.0

    @property
    def over_seeds(self) -> float:
        """The standard deviation over the seeds, 0 for fewer than two."""
        return statistics.stdev(self.seeds) if len(self.seeds) > 1 else 0.0
