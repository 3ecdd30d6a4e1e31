"""Folds over any stretch of an ordered sequence, in time that grows with its logarithm.

It is a skip list (Pugh, 1990) whose levels are drawn from a digest of the place, so that they do not depend on the
order of arrival. On each level one in sixteen places of the level below is a leader; with it stands the fold of what
lies before it, back to the leader before. A fold climbs from its end to the highest leader within its reach and
descends to its start. What is appended at the end changes nothing but, once in sixteen times, a leader of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from itertools import pairwise
from typing import Generic, TypeVar

import msgspec

from serving.store import OrderedTables

__all__ = ["SPANS", "Fold", "SpanIndex", "level_of"]

SPANS = "spans"

_BITS = 4
_TOP = 8
_CHUNK = (1 << _BITS) + 2
_PLAIN = 8
T = TypeVar("T")


class Fold(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What is folded: a commutative monoid.

    Fields:
        zero: the fold of nothing.
        read: an entry's value in its table to its fold.
        join: two folds to one.
        part: one fold less another that is in it, where that can be known.
        pack, unpack: a fold to bytes and back.
    """

    zero: T
    read: Callable[[bytes], T]
    join: Callable[[T, T], T]
    part: Callable[[T, T], T] | None = None
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]


def level_of(place: bytes) -> int:
    """The highest level on which a place is a leader; 0 if it is none, as is a time without an id."""
    if len(place) == _PLAIN:
        return 0
    drawn = int.from_bytes(blake2b(place, digest_size=4).digest(), "big")
    return ((drawn & -drawn).bit_length() - 1) // _BITS if drawn else _TOP


class SpanIndex(Generic[T]):
    """The index of the entries of one table that begin with one prefix; what follows the prefix is their place.

    Args:
        prefix: of the entries.
        spans: of the index's own entries; a level and a place follow.
    """

    def __init__(self, tables: OrderedTables, table: str, prefix: bytes, spans: bytes, fold: Fold[T]) -> None:
        self._tables = tables
        self._table = table
        self._prefix = prefix
        self._spans = spans
        self._fold = fold

    def fold(self, high: bytes, low: bytes | None = None) -> T:
        """Of all entries below the place `high`, and from `low` on if it is given."""
        join, total, at, level, rising = self._fold.join, self._fold.zero, high, 0, True
        while True:
            if level == 0:
                found = self._entries_before(at)
                for place, own in found:
                    if low is not None and place < low:
                        return total
                    total, at = join(total, own), place
                    if rising and level_of(place):
                        level = 1
                        break
                else:
                    if len(found) < _CHUNK:
                        return total
                continue
            spans = self._spans_before(level, at + b"\x00")
            for (_, own), (before, _) in pairwise(spans):
                if low is not None and before < low:
                    level, rising = level - 1, False
                    break
                total, at = join(total, own), before
                if rising and level_of(before) > level:
                    level += 1
                    break
            else:
                if len(spans) < _CHUNK:  # nobody leads before `at`
                    if low is None:
                        return join(total, spans[-1][1])
                    level, rising = level - 1, False

    def insert(self, place: bytes, own: T) -> None:
        """Take note of an entry that was put into the table."""
        highest, level = level_of(place), 1
        while True:
            after = self._after(level, place)
            if level <= highest:
                self._set(level, place, self._before(level, place))
                if after:
                    self._set(level, after[0], self._before(level, after[0]))
            elif after:
                self._set(level, after[0], self._fold.join(after[1], own))
            else:
                return
            level += 1

    def remove(self, place: bytes, own: T) -> None:
        """Take note of an entry that was deleted from the table."""
        highest, level = level_of(place), 1
        while True:
            after = self._after(level, place)
            if level <= highest:
                self._tables.delete(SPANS, self._spans + bytes((level,)) + place)
            elif not after:
                return
            if after and level > highest and self._fold.part:
                self._set(level, after[0], self._fold.part(after[1], own))
            elif after:
                self._set(level, after[0], self._before(level, after[0]))
            level += 1

    def replace(self, place: bytes) -> None:
        """Take note of an entry whose value was changed in the table."""
        level = 1
        while after := self._after(level, place):
            self._set(level, after[0], self._before(level, after[0]))
            level += 1

    def _before(self, level: int, place: bytes) -> T:
        """The fold from the leader before `place`, on a level, up to `place`."""
        prefix = self._spans + bytes((level,))
        leader = self._tables.back(SPANS, prefix + place, prefix, 1)
        start = leader[0][0][len(prefix) :] if leader else b""
        total, join, at = self._fold.zero, self._fold.join, place if level == 1 else place + b"\x00"
        while True:
            found = self._entries_before(at) if level == 1 else self._spans_before(level - 1, at)
            for at, own in found:
                # An entry belongs to the stretch that begins with it, a span to that which ends before it.
                if at < start or (level > 1 and at == start):
                    return total
                total = join(total, own)
            if len(found) < _CHUNK:
                return total

    def _entries_before(self, place: bytes) -> list[tuple[bytes, T]]:
        prefix, read = self._prefix, self._fold.read
        size = len(prefix)
        found = self._tables.back(self._table, prefix + place, prefix, _CHUNK)
        return [(key[size:], read(value)) for key, value in found]

    def _spans_before(self, level: int, place: bytes) -> list[tuple[bytes, T]]:
        prefix, unpack = self._spans + bytes((level,)), self._fold.unpack
        size = len(prefix)
        found = self._tables.back(SPANS, prefix + place, prefix, _CHUNK)
        return [(key[size:], unpack(value)) for key, value in found]

    def _after(self, level: int, place: bytes) -> tuple[bytes, T] | None:
        prefix = self._spans + bytes((level,))
        found = self._tables.onward(SPANS, prefix + place + b"\x00", prefix, 1)
        return (found[0][0][len(prefix) :], self._fold.unpack(found[0][1])) if found else None

    def _set(self, level: int, place: bytes, fold: T) -> None:
        self._tables.put(SPANS, [(self._spans + bytes((level,)) + place, self._fold.pack(fold))])
