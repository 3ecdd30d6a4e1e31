"""Features of a table of events in memory, without Spark, whose workers run it on all events of some keys each.

What the features mean stands in `mlops.features`. Rows keep their order; features are appended as columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlops.aggregates import (
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
)
from mlops.clock import calendar_parts
from mlops.features import Calendar, FeatureSet, Last, Missing, OneHot, Ratio, Rolling, Value
from mlops.schema import EventSchema
from pipelines.windows import Floats, Ints, Timeline, distinct, extreme, running

__all__ = ["aggregate", "features_of", "fulfils", "row_features"]

Bools = NDArray[np.bool_]
Values = TypeVar("Values", Ints, Bools)


def features_of(events: pa.Table, features: FeatureSet, schema: EventSchema) -> pa.Table:
    """All features of all events: the events' columns, then a double column for each other feature, in order.

    Args:
        events: canonical columns, in any order.
    """
    table = events
    for key, aggregates in features.by_key.items():
        table = aggregate(table, key, aggregates, schema)
    return row_features(table, features, schema)


def aggregate(table: pa.Table, key: str, aggregates: Sequence[Aggregate], schema: EventSchema) -> pa.Table:
    """The table with a double column for each of the aggregates, which are by one key column.

    Args:
        table: all events of whole keys in canonical columns, in any order. A missing key equals other missing keys.
    """
    events = _Events(table, key, schema)
    return _with_columns(table, ((a.name, events.values(a)) for a in aggregates))


def row_features(table: pa.Table, features: FeatureSet, schema: EventSchema) -> pa.Table:
    """The features that take only the event itself, and the ratios: then all are there, and in order.

    Args:
        table: events in canonical columns, and their aggregates.

    Returns:
        the events' columns, then a double column for each other feature.
    """
    for feature in features.features:
        if isinstance(feature, Ratio):
            above, below = _doubles(table[feature.numerator]), _doubles(table[feature.denominator])
            ratio = np.full(table.num_rows, float(feature.fallback))
            np.divide(above, below, out=ratio, where=below != 0)
            table = _with_columns(table, [(feature.name, ratio)])
        elif not isinstance(feature, Rolling | Last):
            table = _with_columns(table, zip(feature.names, _own(table, feature, schema), strict=False))
    own = [column.name for column in schema.columns]
    return table.select([*own, *(name for name in features.names if name not in own)])


def fulfils(column: pa.ChunkedArray, where: Where) -> Bools:
    """Which values of a column [n] fulfil a condition; a missing one fulfils none."""
    if where.equals is not None:
        return pc.equal(column, pa.scalar(where.equals, column.type)).fill_null(False).to_numpy()
    numbers = _doubles(column)  # not a number where missing, which is neither above nor below
    mask = ~np.isnan(numbers)
    if where.minimum is not None:
        mask &= numbers >= where.minimum
    if where.maximum is not None:
        mask &= numbers <= where.maximum
    return mask


def _own(
    table: pa.Table, feature: Value | Missing | OneHot | Calendar, schema: EventSchema
) -> Iterable[Floats]:
    column = table[feature.column or schema.time if isinstance(feature, Calendar) else feature.column]
    known = pc.is_valid(column).to_numpy()
    if isinstance(feature, Missing):
        yield (~known).astype(np.float64)
    elif isinstance(feature, OneHot):
        text = column.cast(pa.string())
        for value in feature.values:
            yield pc.equal(text, value).fill_null(False).to_numpy().astype(np.float64)
    elif isinstance(feature, Calendar):
        shown = np.full(table.num_rows, float(feature.fallback))
        shown[known] = calendar_parts(feature.part, _times(column)[known], feature.timezone)
        yield shown
    elif feature.fallback is not None:  # without one, it is the column itself
        yield np.where(known, _doubles(column), feature.fallback)


class _Chosen:
    """The events that may enter a window, still in order: all, or those where `mask` [n] is true."""

    def __init__(self, mask: Bools | None) -> None:
        self._mask = mask
        self._before = None if mask is None else running(mask)
        self.totals: dict[tuple[str, bool], Ints] = {}

    def of(self, column: Values) -> Values:
        """What a column [n] holds of these events."""
        return column if self._mask is None else column[self._mask]

    def before(self, places: Ints) -> Ints:
        """How many of these events lie before places in the order."""
        return places if self._before is None else self._before[places]


class _Events:
    """A table's events in the order of (key, time, id)."""

    def __init__(self, table: pa.Table, key: str, schema: EventSchema) -> None:
        self._table, self._schema = table, schema
        self._line = Timeline(_codes(table[key]), _times(table[schema.time]), table[schema.id])
        self._place = np.arange(table.num_rows)
        self._columns: dict[str, Ints] = {}
        self._chosen: dict[tuple[Where | None, str], _Chosen] = {}

    def values(self, a: Aggregate) -> Floats:
        """An aggregate of each event [n], in the table's order."""
        result = np.empty(self._table.num_rows)
        result[self._line.order] = self._in_order(a)
        return result

    def _in_order(self, a: Aggregate) -> Floats:
        agg, line = a.agg, self._line
        # A missing value is neither least nor largest, nor one more distinct value.
        known = agg.column if isinstance(agg, Min | Max | Distinct) else ""
        chosen = self._choose(a.where, known)
        begin = chosen.before(line.first_after(a.delay_us + a.window_us))
        end = chosen.before(line.first_after(a.delay_us) if a.delay_us else self._place + a.include_current)
        if isinstance(agg, Count):
            return (end - begin).astype(np.float64)
        if isinstance(agg, Distinct):
            codes = _codes(pa.array(self._column(agg.column)))  # few enough to be joined with the key
            both = chosen.of(line.keys * (codes.max(initial=0) + 1) + codes)
            return distinct(both, chosen.of(line.times), a.window_us, begin, end).astype(np.float64)
        if isinstance(agg, SinceFirst | SinceLast | Nth):
            place = begin if isinstance(agg, SinceFirst) else end - getattr(agg, "place", 1)
            return self._looked_up(a, chosen, place, (begin <= place) & (place < end))
        value = self._calculated(agg, chosen, begin, end)
        value[begin == end] = a.fallback
        return value

    def _looked_up(self, a: Aggregate, chosen: _Chosen, place: Ints, there: Bools) -> Floats:
        """What one event of each window holds, or how long ago it was."""
        value = np.full(len(place), float(a.fallback))
        rows, place = np.flatnonzero(there), place[there]
        if not isinstance(a.agg, Nth) or a.agg.column == self._schema.time:
            value[rows] = (self._line.times[rows] - chosen.of(self._line.times)[place]) / 1e6
            return value
        known = chosen.of(self._known(a.agg.column))[place]
        numbers = chosen.of(self._column(a.agg.column))[place]
        value[rows[known]] = numbers[known] / self._scale(a.agg.column)
        return value

    def _calculated(
        self, agg: Sum | Mean | Rate | Min | Max, chosen: _Chosen, begin: Ints, end: Ints
    ) -> Floats:
        """A value of each window; anything where it is empty."""
        if isinstance(agg, Min | Max):
            pick = np.minimum if isinstance(agg, Min) else np.maximum
            return extreme(chosen.of(self._column(agg.column)), begin, end, pick) / self._scale(agg.column)
        ones = isinstance(agg, Rate)
        if (agg.column, ones) not in chosen.totals:
            column = chosen.of(self._column(agg.column))
            chosen.totals[agg.column, ones] = running(column == 1 if ones else column)
        totals = chosen.totals[agg.column, ones]
        value = (totals[end] - totals[begin]).astype(np.float64)
        if not isinstance(agg, Sum):
            value /= np.maximum(end - begin, 1)
        return value if ones else value / self._scale(agg.column)

    def _choose(self, where: Where | None, known: str) -> _Chosen:
        if (where, known) not in self._chosen:
            mask = None
            if where is not None:
                mask = fulfils(self._table[where.column], where)[self._line.order]
            if known:
                mask = self._known(known) if mask is None else mask & self._known(known)
            self._chosen[where, known] = _Chosen(None if mask is None or mask.all() else mask)
        return self._chosen[where, known]

    def _known(self, name: str) -> Bools:
        return pc.is_valid(self._table[name]).to_numpy()[self._line.order]

    def _column(self, name: str) -> Ints:
        """A column as exact whole numbers, in units of its last digit, or codes of ids and text; 0 where missing."""
        if name not in self._columns:
            column, type_ = self._table[name], self._schema.column(name).type
            if type_ in ("id", "text"):
                numbers = _codes(column)
            elif pa.types.is_floating(column.type):
                numbers = np.rint(column.fill_null(0).to_numpy() * self._scale(name)).astype(np.int64)
            else:
                numbers = column.cast(pa.int64()).fill_null(0).to_numpy() * int(self._scale(name))
            self._columns[name] = numbers[self._line.order]
        return self._columns[name]

    def _scale(self, name: str) -> float:
        return float(10 ** self._schema.column(name).decimals)


def _with_columns(table: pa.Table, columns: Iterable[tuple[str, Floats]]) -> pa.Table:
    for name, values in columns:
        table = table.append_column(name, pa.array(values))
    return table


def _codes(column: pa.ChunkedArray | pa.Array) -> Ints:
    """Whole numbers [n] from 0 that are equal where the values are; a missing value equals other missing values."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    return np.asarray(encoded.indices.fill_null(len(encoded.dictionary)), dtype=np.int64)


def _times(column: pa.ChunkedArray) -> Ints:
    """Microseconds since 1970; 0 where missing."""
    return column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(0).to_numpy()


def _doubles(column: pa.ChunkedArray) -> Floats:
    """Numbers or booleans as doubles; not a number where missing."""
    return column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
