"""How far a headline figure varies for reasons that are not the model: other days, another seed."""

from __future__ import annotations

import statistics

import msgspec

__all__ = ["Spread"]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The headline figure of one candidate with its chosen parameters, measured more than once.

    Fields:
        folds: on each validation fold, the latest first.
        seeds: the mean over these folds, for each of several seeds of the fit, one after the other; None where it
            diverged on a fold.
    """

    folds: tuple[float, ...]
    seeds: tuple[float | None, ...]

    @property
    def over_folds(self) -> float:
        """The standard deviation over the folds, 0 for fewer than two."""
        return statistics.stdev(self.folds) if len(self.folds) > 1 else 0.0

    @property
    def over_seeds(self) -> float:
        """The standard deviation over the seeds that it did not diverge with, 0 for fewer than two."""
        found = [value for value in self.seeds if value is not None]
        return statistics.stdev(found) if len(found) > 1 else 0.0
