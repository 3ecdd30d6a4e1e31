"""Changes of events in streams, written into totals and indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from serving.sessions import Sessions, ValueSessions
from serving.spans import SpanIndex
from serving.store import OrderedTables
from serving.streams import Extremes, Row, StreamLayout
from serving.tables import TOTALS

__all__ = ["Change", "apply", "sessions_of", "span_index", "values_of"]

_MASK = (1 << 64) - 1


class Change(msgspec.Struct, frozen=True):
    """Of one event in one stream and key (`group`): it comes, goes, or has another row."""

    layout: StreamLayout
    group: bytes
    place: bytes
    old: Row | None
    new: Row | None


def apply(tables: OrderedTables, changes: list[Change]) -> None:
    """Write changes of different events, in any order."""
    changes.sort(key=_order)
    written: list[tuple[bytes, bytes]] = []
    for group, run in groupby(changes, key=attrgetter("group")):
        written += _add(tables, group, list(run))
    tables.put(TOTALS, written)
    for change in changes:
        if change.layout.indexed:
            _index(tables, change)


def _add(tables: OrderedTables, group: bytes, run: list[Change]) -> Iterable[tuple[bytes, bytes]]:
    """The totals at changed places, and at all that come after them; what goes is deleted."""
    layout = run[0].layout
    at = group + run[0].place
    before = tables.before(TOTALS, at)
    total = (0,) * layout.width
    if before and before[0].startswith(group):
        total = layout.totals(before[1])
    later = tables.onward(TOTALS, at, group)
    if not later:
        for change in run:
            assert change.new is not None
            total = _sum(total, change.new.amounts)
            yield group + change.place, layout.pack(total) + layout.tail(change.new)
        return
    changed = {group + change.place: change for change in run}
    standing, added = dict(later), (0,) * layout.width
    for key in sorted(changed.keys() | standing.keys()):
        moved = changed.get(key)
        if key in standing:
            total = layout.totals(standing[key])
        if moved and moved.old:
            added = _sum(added, [-amount for amount in moved.old.amounts])
        elif moved and key in standing:
            moved = None  # its record was deleted with another key: it is counted here already
        if moved and moved.new:
            added = _sum(added, moved.new.amounts)
            yield key, layout.pack(_sum(total, added)) + layout.tail(moved.new)
        elif moved:
            tables.delete(TOTALS, key)
        else:
            yield key, layout.pack(_sum(total, added)) + layout.tail_of(standing[key])


def _index(tables: OrderedTables, change: Change) -> None:
    layout, old, new, place = change.layout, change.old, change.new, change.place
    if layout.ranged:
        index = span_index(tables, layout, change.group)
        if new is None:
            assert old is not None
            index.remove(place, layout.extremes_of(old))
        elif old is None:
            index.insert(place, layout.extremes_of(new))
        else:
            index.replace(place)
    for n, (values, _) in enumerate(values_of(tables, layout, change.group)):
        before, after = old and old.codes[n], new and new.codes[n]
        if before != after:
            if before:
                values.remove(before, place)
            if after:
                values.insert(after, place)


def span_index(tables: OrderedTables, layout: StreamLayout, group: bytes) -> SpanIndex[Extremes]:
    """The index of a stream's and key's extremes."""
    return SpanIndex(tables, TOTALS, group, group + layout.spans, layout.extremes)


def sessions_of(tables: OrderedTables, layout: StreamLayout, group: bytes) -> list[Sessions]:
    """The sessions of each series of a stream and key."""
    return [Sessions(tables, group + number, window_us) for number, window_us in layout.series]


def values_of(
    tables: OrderedTables, layout: StreamLayout, group: bytes
) -> Iterator[tuple[ValueSessions, int]]:
    """Where the values of each column that has series were seen, and the longest of its windows."""
    series = sessions_of(tables, layout, group) if layout.distinct else []
    for number, places in layout.distinct:
        sessions = ValueSessions(tables, group + number, [series[place] for place in places])
        yield sessions, max(layout.series[place][1] for place in places)


def _order(change: Change) -> tuple[bytes, bytes]:
    return change.group, change.place


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple([(a + b) & _MASK for a, b in zip(one, other, strict=True)])
