"""What a feature is, declared once. Spark computes it over history, the online store for the event in hand.

Semantics, the same for both executors:

- A window of length w looks at (t − w, t], the event itself included; with a delay d at (t − d − w, t − d].
- Events are ordered by (event time, id). Among equal times an event sees only ids up to its own; a delayed
  window sees all events at its borders' times. Ids compare as numbers if all are numbers, else bytewise.
- Sums run over scaled integers, so they are exact, and both executors divide the same two integers: values
  agree to the last bit. `mean` is (sum / count) / 10^decimals in double precision, in this order.
- A rate counts an event without a known label as 0.
- An empty window has the `fallback` (a count has 0), and so has a ratio whose denominator is 0.

The windows and the delay are those of Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud
Detection (2022), chapter 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from mlops.errors import ConfigError

__all__ = [
    "Agg",
    "Aggregate",
    "Calendar",
    "Count",
    "Feature",
    "FeatureSet",
    "Mean",
    "Rate",
    "Ratio",
    "Rolling",
    "Sum",
    "Value",
    "duration_us",
]

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def duration_us(text: str) -> int:
    """Microseconds in a duration such as `30m`, `12h` or `7d`.

    Raises:
        ConfigError: not a positive whole number and a unit of s, m, h, d.
    """
    match = re.fullmatch(r"([1-9][0-9]*)([smhd])", text)
    if match is None:
        raise ConfigError(
            f"{text!r} is not a duration", todo="write a whole number and s, m, h or d: 30m, 7d"
        )
    return int(match[1]) * _UNITS_US[match[2]]


class _Base(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, forbid_unknown_fields=True):
    pass


class Count(_Base, frozen=True, kw_only=True):
    """How many events."""


class Sum(_Base, frozen=True, kw_only=True):
    """The sum of a decimal, integer or boolean column."""

    column: str


class Mean(_Base, frozen=True, kw_only=True):
    """The mean of a decimal, integer or boolean column."""

    column: str


class Rate(_Base, frozen=True, kw_only=True):
    """The share of events whose boolean column is true; unknown counts as false."""

    column: str


Agg = Count | Sum | Mean | Rate


class Value(_Base, frozen=True, kw_only=True):
    """A column of the event itself."""

    column: str
    unit: str = ""
    description: str = ""

    @property
    def name(self) -> str:
        return self.column


class Calendar(_Base, frozen=True, kw_only=True):
    """A property of the event time, as 0 or 1: `weekend` (Saturday, Sunday) or `night` (hour ≤ 6)."""

    part: Literal["weekend", "night"]
    unit: str = "0/1"
    description: str = ""

    @property
    def name(self) -> str:
        return f"is_{self.part}"


class Ratio(_Base, frozen=True, kw_only=True):
    """One feature divided by another that is declared before it."""

    name: str
    numerator: str
    denominator: str
    fallback: float = 0.0
    unit: str = ""
    description: str = ""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """One window of a `Rolling`: one number an event."""

    name: str
    key: str
    agg: Agg
    window_us: int
    delay_us: int
    include_current: bool
    fallback: float


class Rolling(_Base, frozen=True, kw_only=True):
    """An aggregate over a key's recent events, one feature a window."""

    key: str
    agg: Agg
    windows: tuple[str, ...]
    delay: str = ""
    include_current: bool = True
    fallback: float = 0.0
    prefix: str = ""
    unit: str = ""
    description: str = ""

    def aggregates(self) -> Iterator[Aggregate]:
        """The aggregates that this declares, in the order of its windows."""
        column = "" if isinstance(self.agg, Count) else f"_{self.agg.column}"
        kind = type(self.agg).__name__.lower()
        prefix = self.prefix or f"{self.key}_{kind}{column}"
        for window in self.windows:
            yield Aggregate(
                name=f"{prefix}_{window}",
                key=self.key,
                agg=self.agg,
                window_us=duration_us(window),
                delay_us=duration_us(self.delay) if self.delay else 0,
                include_current=self.include_current,
                fallback=self.fallback,
            )


Feature = Value | Calendar | Ratio | Rolling


class FeatureSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The features of a use case, in the order of the model's input. It is the bundle's `features.json`."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        seen: list[str] = []
        for feature in self.features:
            if isinstance(feature, Ratio):
                for part in (feature.numerator, feature.denominator):
                    if part not in seen:
                        raise ConfigError(
                            f"{part!r} is not declared before it", where=f"Ratio {feature.name}"
                        )
            seen += [a.name for a in feature.aggregates()] if isinstance(feature, Rolling) else [feature.name]
        if twice := sorted({name for name in seen if seen.count(name) > 1}):
            raise ConfigError(
                f"declared twice: {', '.join(twice)}", where="features", todo="give one a prefix"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The feature names, in order; one column of the model's input each."""
        names: list[str] = []
        for feature in self.features:
            names += (
                [a.name for a in feature.aggregates()] if isinstance(feature, Rolling) else [feature.name]
            )
        return tuple(names)

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """All rolling aggregates, in order."""
        return tuple(a for f in self.features if isinstance(f, Rolling) for a in f.aggregates())

    @property
    def horizon_us(self) -> int:
        """How far back an event's features look: the longest window plus its delay, in microseconds."""
        return max((a.window_us + a.delay_us for a in self.aggregates), default=0)

    def describe(self) -> list[tuple[str, str, str]]:
        """(name, unit, description) of each feature, in order."""
        rows: list[tuple[str, str, str]] = []
        for feature in self.features:
            names = [a.name for a in feature.aggregates()] if isinstance(feature, Rolling) else [feature.name]
            rows += [(name, feature.unit, feature.description) for name in names]
        return rows
