"""The online store's transaction over tables that are ordered by key.

Totals wrap around at 64 bits, so that the difference of two of them is right as long as a window's sum fits. The cost
of a late event or label grows with the events that its key has had since. Nothing is ever forgotten.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import msgspec

from mlops.errors import ConflictError
from serving.plan import Entry, StorePlan, encode_time
from serving.store import OrderedTables

__all__ = ["TABLES", "Totals"]

_EVENTS, _ANSWERS, _TOTALS, _HELD = TABLES = ("events", "answers", "totals", "held")
_MASK = (1 << 64) - 1


class _Counted(msgspec.Struct, frozen=True, array_like=True):
    time_us: int
    keys: tuple[bytes, ...]
    label: int | None


_encode_counted = msgspec.msgpack.Encoder().encode
_decode_counted = msgspec.msgpack.Decoder(_Counted).decode
_Addition = tuple[bytes, bytes, tuple[int, ...]]  # a key within a stream, a place in its order, what to add


class Totals:
    """A `StoreTransaction` over ordered tables."""

    def __init__(self, tables: OrderedTables, plan: StorePlan) -> None:
        self._tables = tables
        self._plan = plan
        keys = plan.keys
        self._events = [(n, keys.index(s.key)) for n, s in enumerate(plan.streams) if not s.labels]
        self._labels = [(n, keys.index(s.key)) for n, s in enumerate(plan.streams) if s.labels]
        self._layouts = [struct.Struct(f"<{stream.width}Q") for stream in plan.streams]

    def answers(self, ids: Sequence[bytes]) -> list[bytes | None]:
        return [self._tables.get(_ANSWERS, id_) for id_ in ids]

    def save_answers(self, answers: Mapping[bytes, bytes]) -> None:
        self._tables.put(_ANSWERS, sorted(answers.items()))

    def append(self, entries: Sequence[Entry]) -> int:
        new: dict[bytes, _Counted] = {}
        additions: list[_Addition] = []
        for entry in entries:
            known = new.get(entry.id) or self._counted(entry.id)
            if known is not None:
                if (known.time_us, known.keys) != (entry.time_us, entry.keys):
                    raise ConflictError(
                        "was seen before with another time or key", where=self._plan.id, todo="ids are unique"
                    )
                if entry.label is not None and entry.id not in new:
                    self._relabel(entry.id, known, entry.label)
                continue
            label = self._take_held(entry.id, entry.label)
            new[entry.id] = counted = _Counted(entry.time_us, entry.keys, label)
            place = encode_time(entry.time_us) + entry.id
            for (stream, key), amounts in zip(self._events, entry.amounts, strict=True):
                additions.append((bytes((stream,)) + entry.keys[key], place, amounts))
            if label == 1:
                additions += self._positive(counted, place, 1)
        self._tables.put(_EVENTS, [(id_, _encode_counted(new[id_])) for id_ in sorted(new)])
        self._add(additions)
        return len(new)

    def label(self, labels: Sequence[tuple[bytes, int]]) -> list[int]:
        unknown = []
        for position, (id_, label) in enumerate(labels):
            counted = self._counted(id_)
            if counted is None:
                self._tables.put(_HELD, [(id_, bytes((label,)))])
                unknown.append(position)
            else:
                self._relabel(id_, counted, label)
        return unknown

    def totals(self, stream: int, key: bytes, bounds: Sequence[bytes]) -> list[tuple[int, ...]]:
        prefix, layout, before = bytes((stream,)) + key, self._layouts[stream], self._tables.before
        zero = (0,) * self._plan.streams[stream].width
        found = []
        for bound in bounds:
            last = before(_TOTALS, prefix + bound)
            found.append(layout.unpack(last[1]) if last and last[0].startswith(prefix) else zero)
        return found

    def _counted(self, id_: bytes) -> _Counted | None:
        data = self._tables.get(_EVENTS, id_)
        return None if data is None else _decode_counted(data)

    def _take_held(self, id_: bytes, label: int | None) -> int | None:
        held = self._tables.get(_HELD, id_)
        if held is None:
            return label
        self._tables.delete(_HELD, id_)
        return held[0]

    def _relabel(self, id_: bytes, counted: _Counted, label: int) -> None:
        if counted.label == label:
            return
        self._tables.put(_EVENTS, [(id_, _encode_counted(_Counted(counted.time_us, counted.keys, label)))])
        if change := label - (counted.label or 0):
            self._add(self._positive(counted, encode_time(counted.time_us) + id_, change))

    def _positive(self, counted: _Counted, place: bytes, change: int) -> list[_Addition]:
        return [(bytes((stream,)) + counted.keys[key], place, (change,)) for stream, key in self._labels]

    def _add(self, additions: list[_Addition]) -> None:
        """Write the totals at new places, and add what is new to all that come after them."""
        additions.sort()
        written: list[tuple[bytes, bytes]] = []
        for prefix, group in groupby(additions, key=itemgetter(0)):
            run = [(prefix + place, amounts) for _, place, amounts in group]
            layout = self._layouts[prefix[0]]
            last = self._tables.before(_TOTALS, run[0][0])
            total = (0,) * (layout.size // 8)
            if last and last[0].startswith(prefix):
                total = layout.unpack(last[1])
            if later := self._tables.onward(_TOTALS, run[0][0], prefix):
                run = _merged(run, [(key, layout.unpack(value)) for key, value in later], total)
                total = (0,) * len(total)
            for key, amounts in run:
                total = tuple([(a + b) & _MASK for a, b in zip(total, amounts, strict=True)])
                written.append((key, layout.pack(*total)))
        self._tables.put(_TOTALS, written)


def _merged(
    run: list[tuple[bytes, tuple[int, ...]]],
    later: list[tuple[bytes, tuple[int, ...]]],
    total: tuple[int, ...],
) -> list[tuple[bytes, tuple[int, ...]]]:
    """New amounts and the totals that stand there already, as amounts from place to place."""
    amounts = dict(run)
    first = run[0][0]
    previous = total
    for key, standing in later:
        step = tuple([a - b for a, b in zip(standing, previous, strict=True)])
        mine = amounts.get(key, (0,) * len(step))
        amounts[key] = tuple([a + b for a, b in zip(step, mine, strict=True)])
        previous = standing
    amounts[first] = tuple([a + b for a, b in zip(amounts[first], total, strict=True)])
    return sorted(amounts.items())
