"""What a delivery of events must look like as a whole, declared beside the columns in the event schema.

A row that does not fit goes to quarantine; a delivery that does not fit stops the pipeline. Shares say nothing about a
handful of rows, so each expectation names from how many on it is judged.
"""

from __future__ import annotations

import msgspec

from mlops.errors import ConfigError

__all__ = ["Expectation", "Freshness", "NullShare", "QuarantinedShare", "TrueShare", "Volume"]


class _Base(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, forbid_unknown_fields=True):
    pass


class Freshness(_Base, frozen=True, kw_only=True):
    """The newest event is at most so many days older than the moment that the caller judges as of.

    Without such a moment it is not judged: an archive is no worse for its age.
    """

    max_age_days: float

    def __post_init__(self) -> None:
        _require(self.max_age_days > 0, self, "max_age_days above 0")


class Volume(_Base, frozen=True, kw_only=True):
    """Enough rows, and no day on which they collapse.

    Fields:
        min_rows: of good rows in the delivery.
        max_fall: a day fails whose rows fell by this share, or more, against the median of the other days, those
            that the event table held before among them.
        min_days: of other days with rows; with fewer no day is judged.
        min_median: rows; where the median is lower, chance alone makes a day poor, and none is judged.
    """

    min_rows: int = 1
    max_fall: float = 0.9
    min_days: int = 7
    min_median: int = 100

    def __post_init__(self) -> None:
        _require(self.min_rows >= 1, self, "min_rows of at least 1")
        _require(0 < self.max_fall <= 1, self, "max_fall in (0, 1]")
        _require(self.min_days >= 1 and self.min_median >= 1, self, "min_days and min_median of at least 1")


class NullShare(_Base, frozen=True, kw_only=True):
    """At most this share of the good rows has no value in a column."""

    column: str
    at_most: float
    min_rows: int = 1000

    def __post_init__(self) -> None:
        _require(0 <= self.at_most <= 1, self, "at_most in [0, 1]")


class TrueShare(_Base, frozen=True, kw_only=True):
    """The share of true among the known values of a boolean column lies in these limits, which are inclusive."""

    column: str
    at_least: float = 0.0
    at_most: float = 1.0
    min_rows: int = 10_000

    def __post_init__(self) -> None:
        _require(0 <= self.at_least <= self.at_most <= 1, self, "0 ≤ at_least ≤ at_most ≤ 1")


class QuarantinedShare(_Base, frozen=True, kw_only=True):
    """At most this share of all rows that came in is quarantined."""

    at_most: float
    min_rows: int = 1000

    def __post_init__(self) -> None:
        _require(0 <= self.at_most <= 1, self, "at_most in [0, 1]")


Expectation = Freshness | Volume | NullShare | TrueShare | QuarantinedShare


def _require(holds: bool, expectation: msgspec.Struct, todo: str) -> None:
    if not holds:
        raise ConfigError("does not make sense", where=repr(expectation), todo=f"it needs {todo}")
