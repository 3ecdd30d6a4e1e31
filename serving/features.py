"""The features of the event in hand, from running totals. What they mean stands in `mlops.features`."""

from __future__ import annotations

import math

import msgspec

from mlops.bundle import Schema
from mlops.errors import BundleError
from mlops.features import Aggregate, Calendar, Count, FeatureSet, Rate, Ratio, Rolling, Sum, Value
from serving.events import Event
from serving.plan import Entry, StorePlan, summed_by
from serving.store import StoreTransaction, up_to, up_to_time

__all__ = ["OnlineFeatures"]

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
# Where a window without delay ends. Every other border is so many microseconds before the event.
_OWN, _BEFORE_OWN = -1, -2


class _Reads(msgspec.Struct):
    """The borders at which one stream's totals are read."""

    stream: int
    key: int
    borders: list[int]

    def at(self, border: int) -> int:
        if border not in self.borders:
            self.borders.append(border)
        return self.borders.index(border)


class _Window(msgspec.Struct, frozen=True):
    """An aggregate as differences of totals that were read: (reads, border, border, which number)."""

    count: tuple[int, int, int, int]
    total: tuple[int, int, int, int] | None
    divide: bool
    scale: float
    fallback: float


class OnlineFeatures:
    """The executor of one feature set on stores with one plan.

    Raises:
        BundleError: a value may be null, which the decision log cannot hold yet.
        ConfigError: the plan lacks a stream.
    """

    def __init__(self, features: FeatureSet, schema: Schema, plan: StorePlan) -> None:
        self.names = features.names
        self._plan = plan
        self._reads: list[_Reads] = []
        self._steps: list[tuple[str, Value | Calendar | Ratio | _Window]] = []
        for feature in features.features:
            if isinstance(feature, Rolling):
                self._steps += [(a.name, self._window(a, schema)) for a in feature.aggregates()]
                continue
            if isinstance(feature, Value) and schema.events.column(feature.column).nullable:
                raise BundleError("may be null, which serving does not support", where=feature.column)
            self._steps.append((feature.names[0], feature))
        self._borders = {border for reads in self._reads for border in reads.borders}

    def compute(self, transaction: StoreTransaction, event: Event, entry: Entry) -> list[float]:
        """The values of an event that has been appended, in the order of `names`."""
        bounds = {
            border: up_to_time(entry.time_us - border)
            if border >= 0
            else up_to(entry.time_us, entry.id, inclusive=border == _OWN)
            for border in self._borders
        }
        found = [
            transaction.totals(reads.stream, entry.keys[reads.key], [bounds[b] for b in reads.borders])
            for reads in self._reads
        ]
        values: dict[str, float] = {}
        for name, step in self._steps:
            if isinstance(step, _Window):
                values[name] = _value(step, found)
            elif isinstance(step, Value):
                values[name] = float(event.values[step.column])
            elif isinstance(step, Calendar):
                values[name] = _calendar(step, event.time_us)
            else:
                below = values[step.denominator]
                values[name] = values[step.numerator] / below if below else step.fallback
        return list(values.values())

    def _window(self, a: Aggregate, schema: Schema) -> _Window:
        high = a.delay_us or (_OWN if a.include_current else _BEFORE_OWN)
        low = a.delay_us + a.window_us
        count = self._read(a.key, False, high, low)
        if isinstance(a.agg, Count):
            return _Window((*count, 0), None, False, 1.0, 0.0)
        if a.agg.column == schema.label.column:
            total = (*self._read(a.key, True, high, low), 0)
            scale = 1.0
        else:
            summed = summed_by(a.agg, schema)
            place = self._plan.streams[self._plan.find(a.key, labels=False)].sums.index(summed)
            total, scale = (*count, 1 + place), 10.0**summed.decimals
        if isinstance(a.agg, Rate):
            scale = 1.0
        return _Window((*count, 0), total, not isinstance(a.agg, Sum), scale, a.fallback)

    def _read(self, key: str, labels: bool, high: int, low: int) -> tuple[int, int, int]:
        stream = self._plan.find(key, labels=labels)
        streams = [reads.stream for reads in self._reads]
        if stream not in streams:
            streams.append(stream)
            self._reads.append(_Reads(stream, self._plan.keys.index(key), []))
        number = streams.index(stream)
        reads = self._reads[number]
        return number, reads.at(high), reads.at(low)


def _value(window: _Window, found: list[list[tuple[int, ...]]]) -> float:
    reads, high, low, _ = window.count
    count = found[reads][high][0] - found[reads][low][0] & _MASK
    if window.total is None:
        return float(count)
    if not count:
        return window.fallback
    reads, high, low, place = window.total
    total = found[reads][high][place] - found[reads][low][place] & _MASK
    exact = float(total - _WRAP if total >> 63 else total)
    return (exact / count if window.divide else exact) / window.scale


_WRAP = 1 << 64
_MASK = _WRAP - 1


def _calendar(feature: Calendar, time_us: int) -> float:
    if feature.part == "weekend":
        return float((time_us // _DAY_US + 3) % 7 >= 5)  # 1970-01-01 was a Thursday
    return float(math.floor(time_us % _DAY_US / _HOUR_US) <= 6)
