"""Aggregates over a key's events, read from a store. What they mean stands in `mlops.features`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlops.bundle import Schema
from mlops.features import (
    Aggregate,
    Count,
    Distinct,
    Max,
    Min,
    Nth,
    Rate,
    SinceFirst,
    SinceLast,
    Sum,
)
from serving.codes import encode_time, up_to
from serving.entries import Entry
from serving.plan import Series, StorePlan
from serving.store import StoreTransaction

__all__ = ["Reading", "WindowReader"]

# Where a window without delay ends. Every other border is so many microseconds before the event.
_OWN, _BEFORE_OWN = -1, -2
_WRAP = 1 << 64
_MASK = _WRAP - 1

Window = Callable[["Reading"], float]


class _Borders(msgspec.Struct):
    """The borders at which one stream's totals are read."""

    number: int
    stream: int
    key: int
    borders: list[int]

    def at(self, border: int) -> int:
        if border not in self.borders:
            self.borders.append(border)
        return self.borders.index(border)


class _Last(msgspec.Struct):
    """How many of the last events of one stream are read between two borders."""

    number: int
    n: int = 1


class _Range(msgspec.Struct):
    """The borders back to which the extremes of one stream are read, all from the same one."""

    number: int
    lows: list[int]


class Reading:
    """What was read for one event. But for totals, a thing is read when the first window asks for it."""

    __slots__ = ("bounds", "entry", "lasts", "ranges", "totals", "transaction")

    def __init__(self, transaction: StoreTransaction, entry: Entry, bounds: dict[int, bytes]) -> None:
        self.transaction = transaction
        self.entry = entry
        self.bounds = bounds
        self.totals: list[list[tuple[int, ...]]] = []
        self.lasts: dict[int, list[tuple[int, tuple[int | None, ...]]]] = {}
        self.ranges: dict[int, dict[int, tuple[int | None, ...]]] = {}


class WindowReader:
    """Makes windows from aggregates, and readings that they take their values from.

    All windows are made before the first reading.
    """

    def __init__(self, schema: Schema, plan: StorePlan) -> None:
        self._schema = schema
        self._plan = plan
        self._totals: dict[int, _Borders] = {}
        self._lasts: dict[tuple[int, int, int], _Last] = {}
        self._ranges: dict[tuple[int, int], _Range] = {}
        self._borders: set[int] = set()

    def read(self, transaction: StoreTransaction, entry: Entry) -> Reading:
        """A reading for an event that has been appended."""
        bounds = {
            border: encode_time(entry.time_us - border + 1)
            if border >= 0
            else up_to(entry.time_us, entry.id, inclusive=border == _OWN)
            for border in self._borders
        }
        reading = Reading(transaction, entry, bounds)
        reading.totals = [
            transaction.totals(read.stream, entry.keys[read.key], [bounds[b] for b in read.borders])
            for read in self._totals.values()
        ]
        return reading

    def window(self, a: Aggregate) -> Window:
        """What gives an aggregate's value for a reading.

        Raises:
            ConfigError: the plan lacks its stream.
        """
        stream = self._plan.find(a.key, a.where)
        high = a.delay_us or (_OWN if a.include_current else _BEFORE_OWN)
        low = a.delay_us + a.window_us
        self._borders |= {high, low}
        agg = a.agg
        if isinstance(agg, SinceFirst):
            return self._since_first(stream, high, low, a)
        if isinstance(agg, SinceLast):
            return self._nth(stream, high, low, 1, "", a)
        if isinstance(agg, Nth):
            column = "" if agg.column == self._schema.events.time else agg.column
            return self._nth(stream, high, low, agg.place, column, a)
        if isinstance(agg, Min | Max):
            return self._extreme(stream, high, low, agg, a)
        if isinstance(agg, Distinct):
            return self._distinct(stream, high, Series(column=agg.column, window_us=a.window_us))
        return self._difference(stream, high, low, a)

    def _difference(self, stream: int, high: int, low: int, a: Aggregate) -> Window:
        reads, up, down = self._read(stream, high, low)
        if isinstance(a.agg, Count):
            return lambda reading: float(
                reading.totals[reads][up][0] - reading.totals[reads][down][0] & _MASK
            )
        assert not isinstance(a.agg, SinceFirst | SinceLast)
        column, summed = a.agg.column, stream
        if column == self._schema.label.column:
            summed = self._plan.find(a.key, a.where, labelled=True)
        sums = self._plan.streams[summed].sums
        place = 1 + sums.index(column) if column in sums else 0  # a label is counted where it is a boolean
        reads_, up_, down_ = self._read(summed, high, low)
        scale = 1.0 if isinstance(a.agg, Rate) else 10.0 ** self._schema.events.column(column).decimals
        divide, fallback = not isinstance(a.agg, Sum), a.fallback

        def value(reading: Reading) -> float:
            totals = reading.totals
            count = totals[reads][up][0] - totals[reads][down][0] & _MASK
            if not count:
                return fallback
            total = totals[reads_][up_][place] - totals[reads_][down_][place] & _MASK
            exact = float(total - _WRAP if total >> 63 else total)
            return (exact / count if divide else exact) / scale

        return value

    def _since_first(self, stream: int, high: int, low: int, a: Aggregate) -> Window:
        key, fallback = self._key(stream), a.fallback

        def value(reading: Reading) -> float:
            entry, bounds = reading.entry, reading.bounds
            first = reading.transaction.first(stream, entry.keys[key], bounds[low], bounds[high])
            return fallback if first is None else (entry.time_us - first) / 1e6

        return value

    def _nth(self, stream: int, high: int, low: int, place: int, column: str, a: Aggregate) -> Window:
        """The value of `column`, or the time since, of the event at a place from the end."""
        key, fallback = self._key(stream), a.fallback
        last = self._lasts.setdefault((stream, high, low), _Last(len(self._lasts)))
        last.n = max(last.n, place)
        kept = self._plan.streams[stream].kept.index(column) if column else -1
        scale = 10 ** self._schema.events.column(column).decimals if column else 1

        def value(reading: Reading) -> float:
            found, entry = reading.lasts.get(last.number), reading.entry
            if found is None:
                low_, high_ = reading.bounds[low], reading.bounds[high]
                found = reading.transaction.last(stream, entry.keys[key], low_, high_, last.n)
                reading.lasts[last.number] = found
            if len(found) < place:
                return fallback
            time_us, values = found[place - 1]
            if kept < 0:
                return (entry.time_us - time_us) / 1e6
            number_ = values[kept]
            return fallback if number_ is None else number_ / scale

        return value

    def _extreme(self, stream: int, high: int, low: int, agg: Min | Max, a: Aggregate) -> Window:
        key, fallback = self._key(stream), a.fallback
        range_ = self._ranges.setdefault((stream, high), _Range(len(self._ranges), []))
        range_.lows = sorted({*range_.lows, low})
        place = 2 * self._plan.streams[stream].ranged.index(agg.column) + isinstance(agg, Max)
        scale = 10 ** self._schema.events.column(agg.column).decimals

        def value(reading: Reading) -> float:
            found = reading.ranges.get(range_.number)
            if found is None:
                bounds = reading.bounds
                lows = [bounds[low] for low in range_.lows]
                rows = reading.transaction.extremes(stream, reading.entry.keys[key], lows, bounds[high])
                found = reading.ranges[range_.number] = dict(zip(range_.lows, rows, strict=True))
            number_ = found[low][place]
            return fallback if number_ is None else number_ / scale

        return value

    def _distinct(self, stream: int, high: int, series: Series) -> Window:
        key, number = self._key(stream), self._plan.streams[stream].distinct.index(series)

        def value(reading: Reading) -> float:
            found = reading.transaction.distinct(
                stream, reading.entry.keys[key], number, reading.bounds[high]
            )
            return float(found)

        return value

    def _key(self, stream: int) -> int:
        return self._plan.keys.index(self._plan.streams[stream].key)

    def _read(self, stream: int, high: int, low: int) -> tuple[int, int, int]:
        reads = self._totals.setdefault(stream, _Borders(len(self._totals), stream, self._key(stream), []))
        return reads.number, reads.at(high), reads.at(low)
