"""What a feature is, declared once. Spark computes it over history, the online store for the event in hand.

Semantics, the same for both executors:

- A window of length w looks at (t − w, t], the event itself included; with a delay d at (t − d − w, t − d].
- Events are ordered by (event time, id). Among equal times an event sees only ids up to its own; a delayed
  window sees all events at its borders' times. Ids compare as numbers if all are numbers, else bytewise.
- Only events that fulfil `where` enter a window, the event in hand no less than others; its features are
  computed whether it does or not. A missing value fulfils no condition.
- Sums run over scaled integers, so they are exact as long as they fit into 64 bits (beyond, both executors wrap
  around), and both executors divide the same two integers: values agree to the last bit. `mean` is
  (sum / count) / 10^decimals in double precision, in this order; `min`, `max` and the values of `Last` are divided
  by 10^decimals likewise; times are whole microseconds / 10^6.
- A missing value adds 0 to a sum, and its event still counts in a mean or a rate; so does an event without a known
  label. It is no least or largest value, and not one more distinct value.
- An empty window has the `fallback` (a count has 0), and so has a ratio whose denominator is 0.
- What depends on the label is known no earlier than the label's delay: `mlops.contract` refuses less.

The windows and the delay are those of Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud
Detection (2022), chapter 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from mlops.aggregates import (
    Agg,
    Aggregate,
    Count,
    Distinct,
    Max,
    Mean,
    Min,
    Nth,
    Rate,
    SinceFirst,
    SinceLast,
    Sum,
    Where,
    duration_us,
)
from mlops.errors import ConfigError

__all__ = [
    "Agg",
    "Aggregate",
    "Calendar",
    "Count",
    "Distinct",
    "Feature",
    "FeatureSet",
    "Last",
    "Max",
    "Mean",
    "Min",
    "Missing",
    "Nth",
    "OneHot",
    "Rate",
    "Ratio",
    "Rolling",
    "SinceFirst",
    "SinceLast",
    "Sum",
    "Value",
    "Where",
    "duration_us",
]


class _Base(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, forbid_unknown_fields=True):
    pass


class Value(_Base, frozen=True, kw_only=True):
    """A column of the event itself. One that may be missing needs a `fallback`, and is called `<column>_filled`."""

    column: str
    fallback: float | None = None
    unit: str = ""
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.column if self.fallback is None else f"{self.column}_filled",)


class Missing(_Base, frozen=True, kw_only=True):
    """1 if the event has no value in a column, else 0."""

    column: str
    unit: str = "0/1"
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.column}_is_missing",)


class OneHot(_Base, frozen=True, kw_only=True):
    """A text or boolean column as one 0/1 feature a value; one that is missing, or not listed, is 0 in all.

    The features are called as the values; of two that differ only in signs or case, the later one by its place too.
    """

    column: str
    values: tuple[str, ...]
    unit: str = "0/1"
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        names: list[str] = []
        for place, value in enumerate(self.values):
            name = f"{self.column}_is_{re.sub(r'[^0-9A-Za-z]+', '_', value)}"
            alike = name.lower() in map(str.lower, names) and value not in self.values[:place]
            names.append(f"{name}_{place + 1}" if alike else name)
        return tuple(names)


class Calendar(_Base, frozen=True, kw_only=True):
    """A part of the event time, or of another timestamp `column`, as the clock in `timezone` shows it.

    `weekend` (Saturday, Sunday) and `night` (hour ≤ 6) are 0 or 1; `weekday` counts from Monday = 0. Of a timestamp
    that is missing it is the `fallback`.
    """

    part: Literal["weekend", "night", "hour", "weekday", "day", "month", "year"]
    column: str = ""
    timezone: str = "UTC"
    fallback: float = -1.0
    unit: str = ""
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        part = f"is_{self.part}" if self.part in ("weekend", "night") else self.part
        return (f"{self.column}_{part}" if self.column else part,)


class Ratio(_Base, frozen=True, kw_only=True):
    """One feature divided by another; both are declared before it."""

    name: str
    numerator: str
    denominator: str
    fallback: float = 0.0
    unit: str = ""
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


class Rolling(_Base, frozen=True, kw_only=True):
    """An aggregate over a key's recent events, one feature a window.

    Raises:
        ConfigError: a time since the last event, if the event in hand is that.
    """

    key: str
    agg: Agg
    windows: tuple[str, ...]
    delay: str = ""
    where: Where | None = None
    include_current: bool = True
    fallback: float = 0.0
    prefix: str = ""
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.agg, SinceLast) and self.include_current and not self.delay:
            raise ConfigError(
                "is always 0: the last event is the event in hand",
                where=f"SinceLast by {self.key}",
                todo="set include_current=False, or a delay",
            )

    def aggregates(self) -> Iterator[Aggregate]:
        """The aggregates that this declares, in the order of its windows."""
        prefix = self.prefix or f"{self.key}_{self.agg.label}"
        for window in self.windows:
            yield Aggregate(
                name=f"{prefix}_{window}",
                key=self.key,
                agg=self.agg,
                window_us=duration_us(window),
                delay_us=duration_us(self.delay) if self.delay else 0,
                include_current=self.include_current,
                where=self.where,
                fallback=self.fallback,
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.aggregates())


class Last(_Base, frozen=True, kw_only=True):
    """What a sequence model reads: `fields` of the key's `n` newest events, at most `window` ago.

    The features are in the order of the fields, and within a field from the newest event (1) to the oldest (n). A
    field is a decimal, integer or boolean column, or the event time, which is given as seconds before the event in
    hand. Where there are fewer events, or a value is missing, it is the `fallback`.

    Raises:
        ConfigError: `n` is less than 1, or there are no fields.
    """

    key: str
    fields: tuple[str, ...]
    n: int
    window: str = "30d"
    delay: str = ""
    where: Where | None = None
    include_current: bool = True
    fallback: float = 0.0
    prefix: str = ""
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if self.n < 1 or not self.fields:
            raise ConfigError("needs a field and an n of at least 1", where=f"Last by {self.key}")

    def aggregates(self) -> Iterator[Aggregate]:
        """One a field and place."""
        for field in self.fields:
            for place in range(1, self.n + 1):
                yield Aggregate(
                    name=f"{self.prefix or f'{self.key}_last'}_{field}_{place}",
                    key=self.key,
                    agg=Nth(column=field, place=place),
                    window_us=duration_us(self.window),
                    delay_us=duration_us(self.delay) if self.delay else 0,
                    include_current=self.include_current,
                    where=self.where,
                    fallback=self.fallback,
                )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.aggregates())


Feature = Value | Missing | OneHot | Calendar | Ratio | Rolling | Last


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
            seen += feature.names
        if twice := sorted({name for name in seen if seen.count(name) > 1}):
            raise ConfigError(
                f"declared twice: {', '.join(twice)}", where="features", todo="give one a prefix"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The feature names, in order; one column of the model's input each."""
        return tuple(name for feature in self.features for name in feature.names)

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """All aggregates over a key's events, in order."""
        return tuple(a for f in self.features if isinstance(f, Rolling | Last) for a in f.aggregates())

    @property
    def by_key(self) -> dict[str, tuple[Aggregate, ...]]:
        """The aggregates of each key column, in order."""
        found: dict[str, tuple[Aggregate, ...]] = {}
        for a in self.aggregates:
            found[a.key] = (*found.get(a.key, ()), a)
        return found

    @property
    def horizon_us(self) -> int:
        """How far back an event's features look: the longest window plus its delay, in microseconds."""
        return max((a.window_us + a.delay_us for a in self.aggregates), default=0)

    def describe(self) -> list[tuple[str, str, str]]:
        """(name, unit, description) of each feature, in order. What aggregates events says of which time, too."""
        over = {a.name: f", {a.over}" for a in self.aggregates}
        return [
            (name, f.unit, f.description and f.description + over.get(name, ""))
            for f in self.features
            for name in f.names
        ]
