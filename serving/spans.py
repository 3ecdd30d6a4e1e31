"""Folds over any stretch of an ordered sequence, in time that grows with its logarithm.

It is a skip list (Pugh, 1990) whose levels are drawn from a checksum of the place, so that they do not depend on the
order of arrival. On each level one in a few places of the level below is a leader; with it stands the fold of what lies
before it, back to the leader before. A fold climbs from its end to the highest leader within its reach and descends to
its start. What is appended at the end changes nothing, but may become a leader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar
from zlib import crc32

import msgspec

from serving.store import OrderedTables
from serving.tables import SPANS

__all__ = ["Fold", "SpanIndex", "level_of"]

_TIME_BYTES = 8
T = TypeVar("T")


class Fold(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What is folded: a commutative monoid.

    Fields:
        bits: one place in 2^bits is a leader: with fewer, folds read less; with more, insertions write less.
        zero: the fold of nothing.
        read: an entry's value in its table to its fold.
        join: two folds to one.
        part: one fold less another that is in it, where that can be known.
        pack, unpack: a fold to bytes and back.
    """

    bits: int
    zero: T
    read: Callable[[bytes], T]
    join: Callable[[T, T], T]
    part: Callable[[T, T], T] | None = None
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]


def level_of(place: bytes, bits: int) -> int:
    """The highest level on which a place is a leader; 0 if it is none, as is a time without an id."""
    if len(place) == _TIME_BYTES:
        return 0
    drawn = crc32(place) * 0x9E3779B1 & 0xFFFFFFFF  # Fibonacci hashing: what differs little is spread
    return (32 - drawn.bit_length()) // bits


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
        self._chunk = (1 << fold.bits) + 1

    def folds(self, high: bytes, lows: Sequence[bytes]) -> list[T]:
        """Of all entries below the place `high`, from each of `lows` on, of which each is before the one before."""
        climb, found = _Climb(self._fold.zero, high), []
        for low in lows:
            self._climb(climb, low)
            found.append(self._descend(climb, low))
        return found

    def total(self, high: bytes) -> T:
        """Of all entries below the place `high`."""
        climb = _Climb(self._fold.zero, high)
        self._climb(climb, b"")
        if not climb.level:
            return climb.fold
        [(_, first)] = self._spans_before(climb.level, climb.at + b"\x00")
        return self._fold.join(climb.fold, self._fold.unpack(first))

    def insert(self, place: bytes, own: T) -> None:
        """Take note of an entry that was put into the table."""
        highest, level = level_of(place, self._fold.bits), 1
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
        highest, level = level_of(place, self._fold.bits), 1
        while True:
            after = self._after(level, place)
            if level <= highest:
                self._tables.delete(SPANS, self._at(level, place))
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

    def forget(self, before: bytes, limit: int) -> int:
        """Remove the leaders before a place, at most `limit` a level; return how many. Folds from there on stay."""
        forgotten, level = 0, 1
        while True:
            prefix = self._spans + bytes((level,))
            found = self._tables.onward(SPANS, prefix, prefix, limit)
            old = [key for key, _ in found if key[len(prefix) :] < before]
            for key in old:
                self._tables.delete(SPANS, key)
            if not found:
                return forgotten
            forgotten, level = forgotten + len(old), level + 1

    def _climb(self, climb: _Climb[T], low: bytes) -> None:
        """Go on to the highest leader that can be reached without going before `low`."""
        join, read, unpack = self._fold.join, self._fold.read, self._fold.unpack
        while True:
            if climb.level == 0:
                found, size = self._entries_before(climb.at), len(self._prefix)
                for key, value in found:
                    place = key[size:]
                    if place < low:
                        return
                    climb.fold, climb.at = join(climb.fold, read(value)), place
                    if level_of(place, self._fold.bits):
                        climb.level = 1
                        break
                else:
                    if len(found) < self._chunk:
                        return
                continue
            found, size = self._spans_before(climb.level, climb.at + b"\x00"), len(self._spans) + 1
            for (_, value), (key, _) in pairwise(found):
                place = key[size:]
                if place < low:
                    return
                climb.fold, climb.at = join(climb.fold, unpack(value)), place
                if level_of(place, self._fold.bits) > climb.level:
                    climb.level += 1
                    break
            else:
                if len(found) < self._chunk:
                    return

    def _descend(self, climb: _Climb[T], low: bytes) -> T:
        """The fold from where the climb ended, which stays as it is, back to `low`."""
        join, read, unpack = self._fold.join, self._fold.read, self._fold.unpack
        fold, at = climb.fold, climb.at
        size = len(self._spans) + 1
        for level in range(climb.level - 1, 0, -1):
            more = True
            while more:
                found = self._spans_before(level, at + b"\x00")
                more = len(found) == self._chunk
                for (_, value), (key, _) in pairwise(found):
                    place = key[size:]
                    if place < low:
                        more = False
                        break
                    fold, at = join(fold, unpack(value)), place
        more, size = climb.level > 0, len(self._prefix)
        while more:
            found = self._entries_before(at)
            more = len(found) == self._chunk
            for key, value in found:
                place = key[size:]
                if place < low:
                    return fold
                fold, at = join(fold, read(value)), place
        return fold

    def _before(self, level: int, place: bytes) -> T:
        """The fold from the leader before `place`, on a level, up to `place`."""
        prefix = self._spans + bytes((level,))
        leader = self._tables.back(SPANS, prefix + place, prefix, 1)
        start = leader[0][0][len(prefix) :] if leader else b""
        fold, join, below = self._fold.zero, self._fold.join, level > 1
        unpack, size = (self._fold.unpack, len(prefix)) if below else (self._fold.read, len(self._prefix))
        at = place + b"\x00" if below else place
        while True:
            found = self._spans_before(level - 1, at) if below else self._entries_before(at)
            for key, value in found:
                at = key[size:]
                # An entry belongs to the stretch that begins with it, a span to that which ends before it.
                if at < start or (below and at == start):
                    return fold
                fold = join(fold, unpack(value))
            if len(found) < self._chunk:
                return fold

    def _entries_before(self, place: bytes) -> list[tuple[bytes, bytes]]:
        return self._tables.back(self._table, self._prefix + place, self._prefix, self._chunk)

    def _spans_before(self, level: int, place: bytes) -> list[tuple[bytes, bytes]]:
        prefix = self._spans + bytes((level,))
        return self._tables.back(SPANS, prefix + place, prefix, self._chunk)

    def _after(self, level: int, place: bytes) -> tuple[bytes, T] | None:
        """The next leader on a level, and the fold that stands with it."""
        prefix = self._spans + bytes((level,))
        found = self._tables.onward(SPANS, prefix + place + b"\x00", prefix, 1)
        return (found[0][0][len(prefix) :], self._fold.unpack(found[0][1])) if found else None

    def _at(self, level: int, place: bytes) -> bytes:
        return self._spans + bytes((level,)) + place

    def _set(self, level: int, place: bytes, fold: T) -> None:
        self._tables.put(SPANS, [(self._at(level, place), self._fold.pack(fold))])


class _Climb(Generic[T]):
    """How far a fold has come: all from `at` on is in it, and `at` is a leader on `level`."""

    def __init__(self, zero: T, high: bytes) -> None:
        self.fold = zero
        self.at = high
        self.level = 0
