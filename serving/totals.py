"""The online store's transaction over tables that are ordered by key.

A window's count and sums are the difference of two running totals: two look-ups, whatever lies between. Times since,
and the last values, are read next to the window's borders. Least and largest values, and numbers of different ones,
take a time that grows with the logarithm of the key's events (`serving.spans`). The cost of a late event or label grows
with the events that its key has had since, as it is added to all later totals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mlops.errors import ConflictError, InputError
from serving.changes import Change, apply, sessions_of, span_index, values_of
from serving.codes import TIME_BYTES, decode_time, digest_of, encode_time
from serving.entries import Entry
from serving.events import time_text
from serving.plan import StorePlan
from serving.store import OrderedTables
from serving.streams import StreamLayout
from serving.tables import (
    ANSWERS,
    DELETED,
    EVENTS,
    HELD,
    NOTES,
    POINTS,
    SEEN,
    SPANS,
    TOTALS,
    Counted,
    Held,
    decode_counted,
    decode_held,
    encode,
)

__all__ = ["Layouts", "Totals"]

_FORGOTTEN = b"forgotten"
_LAST = b"\xff" * 9


class Layouts:
    """A plan's streams, made ready for transactions."""

    def __init__(self, plan: StorePlan) -> None:
        self.id = plan.id
        self.streams = [StreamLayout(plan, number) for number in range(len(plan.streams))]
        self.by_label = [layout for layout in self.streams if layout.by_label]


class Totals:
    """A `StoreTransaction` over ordered tables."""

    def __init__(self, tables: OrderedTables, layouts: Layouts) -> None:
        self._tables = tables
        self._layouts = layouts

    @property
    def forgotten_us(self) -> int | None:
        noted = self._tables.get(NOTES, _FORGOTTEN)
        return None if noted is None else decode_time(noted)

    def forget(self, before_us: int) -> None:
        self._tables.put(NOTES, [(_FORGOTTEN, encode_time(before_us))])

    def forget_records(self, ids: Sequence[bytes], before_us: int) -> int:
        forgotten = 0
        for id_ in ids:
            counted, held = self._counted(id_), self._tables.get(HELD, id_)
            if counted and counted.time_us < before_us:
                self._tables.delete(EVENTS, id_)
                self._tables.delete(ANSWERS, id_)
                forgotten += 1
            if held and decode_held(held).known_us < before_us:
                self._tables.delete(HELD, id_)
        return forgotten

    def forget_places(
        self, group: bytes, before_us: int, seen: Sequence[bytes | None], limit: int
    ) -> tuple[list[bytes | None], int]:
        layout, cut = self._layouts.streams[group[0]], encode_time(before_us)
        removed = self._forget_totals(group, cut, limit)
        done = removed < limit
        if layout.ranged:
            done = span_index(self._tables, layout, group).forget(cut, limit) == 0 and done
        bounds: list[bytes | None] = []
        for sessions in sessions_of(self._tables, layout, group):
            done = sessions.forget(before_us, limit) == 0 and done
        for place, (values, window_us) in enumerate(values_of(self._tables, layout, group)):
            bound = seen[place] if seen else b""
            if bound is not None:
                bound, gone = values.forget(before_us, window_us, bound, limit)
                removed += gone
            bounds.append(bound)
        done = done and not any(bounds)
        return [] if done else bounds or [None], removed

    def _forget_totals(self, group: bytes, cut: bytes, limit: int) -> int:
        """Remove the totals before a place but the last, which is subtracted; it, too, if nothing comes after."""
        last = self._tables.before(TOTALS, group + cut)
        if last is None or not last[0].startswith(group):
            return 0
        found = self._tables.onward(TOTALS, group, group, limit)
        old = [key for key, _ in found if key < last[0]]
        if len(old) < limit and not self._tables.onward(TOTALS, group + cut, group, 1):
            old.append(last[0])
        for key in old:
            self._tables.delete(TOTALS, key)
        return len(old)

    def deleted_us(self, keys: Sequence[bytes]) -> int | None:
        noted = [self._tables.get(NOTES, _deleted(number, key)) for number, key in enumerate(keys)]
        return max((decode_time(moment) for moment in noted if moment), default=None)

    def delete(self, key: int, value: bytes, now_us: int) -> None:
        self._tables.put(NOTES, [(_deleted(key, value), encode_time(now_us))])

    def remove(self, key: int, value: bytes, n: int) -> int:
        layouts = [layout for layout in self._layouts.streams if layout.key == key]
        group = layouts[0].prefix + value
        found = self._tables.back(TOTALS, group + _LAST, group, n)
        ids = [place[len(group) + TIME_BYTES :] for place, _ in found]
        changes, removed = [], 0
        for id_ in ids:
            if counted := self._counted(id_):
                place = encode_time(counted.time_us) + id_
                rows = [(layout, layout.row(counted.cells, counted.label)) for layout in layouts]
                changes += [Change(o, o.prefix + value, place, row, None) for o, row in rows if row]
                for table in (EVENTS, ANSWERS):
                    self._tables.delete(table, id_)
                removed += 1
        apply(self._tables, changes)
        if removed < n:  # what is left was forgotten, but for a total to subtract
            for layout in layouts:
                for table in (TOTALS, SPANS, SEEN, POINTS):
                    for left, _ in self._tables.onward(table, layout.prefix + value, layout.prefix + value):
                        self._tables.delete(table, left)
        return removed

    def answers(self, ids: Sequence[bytes]) -> list[bytes | None]:
        return [self._tables.get(ANSWERS, id_) for id_ in ids]

    def save_answers(self, answers: Mapping[bytes, bytes]) -> None:
        self._tables.put(ANSWERS, sorted(answers.items()))

    def append(self, entries: Sequence[Entry]) -> int:
        self._check_remembered(entries)
        new: dict[bytes, Counted] = {}
        changes: list[Change] = []
        for entry in entries:
            known = new.get(entry.id) or self._counted(entry.id)
            if known is not None:
                if (known.time_us, known.keys) != (entry.time_us, entry.keys):
                    raise ConflictError(
                        "was seen before with another time or key",
                        where=self._layouts.id,
                        todo="ids are unique",
                    )
                if entry.label is not None and entry.id not in new:
                    self._relabel(entry.id, known, entry.label)
                continue
            label = self._take_held(entry.id, entry.label)
            new[entry.id] = Counted(entry.time_us, entry.keys, entry.cells, label)
            place = encode_time(entry.time_us) + entry.id
            for layout in self._layouts.streams:
                row = layout.row(entry.cells, label)
                if row is not None:
                    group = layout.prefix + entry.keys[layout.key]
                    changes.append(Change(layout, group, place, None, row))
        self._tables.put(EVENTS, [(id_, encode(new[id_])) for id_ in sorted(new)])
        apply(self._tables, changes)
        return len(new)

    def label(self, labels: Sequence[tuple[bytes, int | float, int]]) -> list[int]:
        unknown = []
        for position, (id_, label, known_us) in enumerate(labels):
            counted = self._counted(id_)
            if counted is None:
                self._tables.put(HELD, [(id_, encode(Held(label, known_us)))])
                unknown.append(position)
            else:
                self._relabel(id_, counted, label)
        return unknown

    def totals(self, stream: int, key: bytes, bounds: Sequence[bytes]) -> list[tuple[int, ...]]:
        layout, before = self._layouts.streams[stream], self._tables.before
        group, zero, unpack = layout.prefix + key, (0,) * layout.width, layout.totals
        lasts = [before(TOTALS, group + bound) for bound in bounds]
        return [unpack(last[1]) if last and last[0].startswith(group) else zero for last in lasts]

    def first(self, stream: int, key: bytes, low: bytes, high: bytes) -> int | None:
        group = self._layouts.streams[stream].prefix + key
        found = self._tables.onward(TOTALS, group + low, group, 1)
        if not found or found[0][0] >= group + high:
            return None
        return decode_time(found[0][0][len(group) :])

    def last(
        self, stream: int, key: bytes, low: bytes, high: bytes, n: int
    ) -> list[tuple[int, tuple[int | None, ...]]]:
        layout = self._layouts.streams[stream]
        group = layout.prefix + key
        size, least = len(group), group + low
        found = self._tables.back(TOTALS, group + high, group, n)
        return [(decode_time(k[size:]), layout.kept(value)) for k, value in found if k >= least]

    def ids(self, stream: int, key: bytes, low: bytes, high: bytes) -> list[bytes]:
        group = self._layouts.streams[stream].prefix + key
        found = self._tables.onward(TOTALS, group + low, group)
        return [k[len(group) + TIME_BYTES :] for k, _ in found if k < group + high]

    def extremes(
        self, stream: int, key: bytes, lows: Sequence[bytes], high: bytes
    ) -> list[tuple[int | None, ...]]:
        layout = self._layouts.streams[stream]
        folds = span_index(self._tables, layout, layout.prefix + key).folds(high, lows)
        return [layout.shown(fold) for fold in folds]

    def distinct(self, stream: int, key: bytes, series: int, bound: bytes) -> int:
        layout = self._layouts.streams[stream]
        return sessions_of(self._tables, layout, layout.prefix + key)[series].count(bound)

    def _check_remembered(self, entries: Sequence[Entry]) -> None:
        forgotten = self.forgotten_us
        if forgotten is not None and entries and min(entry.time_us for entry in entries) < forgotten:
            raise InputError(
                f"an event is older than {time_text(forgotten)}, and the store has forgotten what was before",
                todo="backfill an empty store",
            )

    def _counted(self, id_: bytes) -> Counted | None:
        data = self._tables.get(EVENTS, id_)
        return None if data is None else decode_counted(data)

    def _take_held(self, id_: bytes, label: int | float | None) -> float | None:
        held = self._tables.get(HELD, id_)
        if held is None:
            return label
        self._tables.delete(HELD, id_)
        return decode_held(held).label

    def _relabel(self, id_: bytes, counted: Counted, label: float) -> None:
        if counted.label == label:
            return
        self._tables.put(EVENTS, [(id_, encode(msgspec.structs.replace(counted, label=label)))])
        place, changes = encode_time(counted.time_us) + id_, []
        for layout in self._layouts.by_label:
            old, new = layout.row(counted.cells, counted.label), layout.row(counted.cells, label)
            if old != new:
                changes.append(Change(layout, layout.prefix + counted.keys[layout.key], place, old, new))
        apply(self._tables, changes)


def _deleted(key: int, value: bytes) -> bytes:
    return DELETED + digest_of(bytes((key,)) + value)
