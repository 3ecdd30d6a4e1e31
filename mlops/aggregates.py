"""Aggregates over a key's events: the kinds, the condition on events, and one window of one of them."""

from __future__ import annotations

import re

import msgspec

from mlops.errors import ConfigError

__all__ = [
    "Agg",
    "Aggregate",
    "Count",
    "Distinct",
    "Max",
    "Mean",
    "Min",
    "Nth",
    "Rate",
    "SinceFirst",
    "SinceLast",
    "Sum",
    "Where",
    "duration_us",
    "span_text",
]

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_WORDS = {"d": "day", "h": "hour", "m": "minute", "s": "second"}


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


def span_text(microseconds: int) -> str:
    """A duration of whole seconds as people say it: 7 days, 1 hour."""
    unit = next(unit for unit in _WORDS if microseconds % _UNITS_US[unit] == 0)
    count = microseconds // _UNITS_US[unit]
    return f"{count} {_WORDS[unit]}{'' if count == 1 else 's'}"


class Where(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on a column of the events in a window: it `equals` a value, or lies within inclusive limits.

    Raises:
        ConfigError: both or neither.
    """

    column: str
    equals: bool | int | str | None = None
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        limited = self.minimum is not None or self.maximum is not None
        if limited == (self.equals is not None):
            raise ConfigError("needs `equals`, or `minimum` and `maximum`", where=f"Where {self.column}")

    def __str__(self) -> str:
        if self.equals is not None:
            return f"{self.column} = {msgspec.json.encode(self.equals).decode()}"
        limits = (("≥", self.minimum), ("≤", self.maximum))
        return " and ".join(
            f"{self.column} {sign} {repr(limit).removesuffix('.0')}"  # to the last digit: two are never alike
            for sign, limit in limits
            if limit is not None
        )


class _Agg(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, forbid_unknown_fields=True):
    @property
    def label(self) -> str:
        """Its part of a feature's name."""
        column = getattr(self, "column", "")
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return f"{kind}_{column}" if column else kind


class Count(_Agg, frozen=True, kw_only=True):
    """How many events."""


class Sum(_Agg, frozen=True, kw_only=True):
    """The sum of a decimal, integer or boolean column."""

    column: str


class Mean(_Agg, frozen=True, kw_only=True):
    """The mean of a decimal, integer or boolean column."""

    column: str


class Rate(_Agg, frozen=True, kw_only=True):
    """The share of events whose boolean column is true; unknown counts as false."""

    column: str


class Min(_Agg, frozen=True, kw_only=True):
    """The least value of a decimal or integer column."""

    column: str


class Max(_Agg, frozen=True, kw_only=True):
    """The largest value of a decimal or integer column."""

    column: str


class Distinct(_Agg, frozen=True, kw_only=True):
    """How many different values an id, text, integer, decimal or boolean column has."""

    column: str


class SinceFirst(_Agg, frozen=True, kw_only=True):
    """Seconds from the first event in the window to the event in hand."""


class SinceLast(_Agg, frozen=True, kw_only=True):
    """Seconds from the last event in the window to the event in hand, which must not be in the window itself."""


class Nth(_Agg, frozen=True, kw_only=True):
    """The value in the window's `place`-th newest event, 1 being the newest. `Last` is made of these.

    Of the event time it is the seconds from that event to the event in hand.
    """

    column: str
    place: int


Agg = Count | Sum | Mean | Rate | Min | Max | Distinct | SinceFirst | SinceLast | Nth


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """One number an event: what is aggregated, over which of the events with its key."""

    name: str
    key: str
    agg: Agg
    window_us: int
    delay_us: int
    include_current: bool
    where: Where | None
    fallback: float

    @property
    def over(self) -> str:
        """Its window, in words that end a description: in the last 7 days; in the day up to 2 hours before."""
        window = span_text(self.window_us).removeprefix("1 ")
        if self.delay_us:
            return f"in the {window} up to {span_text(self.delay_us)} before"
        return f"in the last {window}"
