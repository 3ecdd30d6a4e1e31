"""Ordered tables in Redis, as one transaction sees them.

What was read is remembered, what is written is kept here until the end, and the second is laid over the first. A
rehearsal finds nothing but what was fetched before, and notes what it would have read.

A table that is read by key alone is a hash. A table that is read in order is a sorted set for each stream and key: all
scores are 0, so that Redis orders the members bytewise, and a member is the rest of the key, escaped as texts are in
`serving.codes`, and the value. Numbers are added here, not in Redis, whose scripts know doubles only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from mlops.errors import InputError
from serving.redis_wire import Command
from serving.totals import NOTES

__all__ = ["HASHES", "RedisTables"]

HASHES = frozenset({"events", "answers", "held", NOTES})
"""The tables that are read by key alone."""

_ROUNDS = 4
Item = tuple[bytes, bytes]
Fetch = Callable[[Sequence[Command], set[bytes]], list[Any]]


class RedisTables:
    """`OrderedTables` in the Redis keys that begin with `prefix`.

    Args:
        prefix: of all Redis keys.
        fetch: reads, once it has locked these names for the transaction: one for each id, and one for each key.
    """

    def __init__(self, prefix: bytes, fetch: Fetch) -> None:
        self._prefix = prefix
        self._fetch = fetch
        self._known: dict[Command, Any] = {}
        self._missing: dict[Command, None] | None = None
        self._hashes: dict[str, dict[bytes, bytes | None]] = {table: {} for table in HASHES}
        self._groups: dict[tuple[str, bytes], _Group] = {}
        self.touched: set[bytes] = set()

    def get(self, table: str, key: bytes) -> bytes | None:
        written = self._hashes[table]
        if key in written:
            return written[key]
        if table != NOTES:  # they are about the whole store, and locking them would let one in at a time
            self.touched.add(b"id:" + key)
        found: bytes | None = self._read(("HGET", self._prefix + table.encode(), key))
        return found

    def put(self, table: str, items: Sequence[Item]) -> None:
        for key, value in items:
            self._set(table, key, value)

    def delete(self, table: str, key: bytes) -> None:
        self._set(table, key, None)

    def before(self, table: str, bound: bytes) -> Item | None:
        found = self.back(table, bound, bound[: _group_length(bound)], 1)
        return found[0] if found else None

    def back(self, table: str, bound: bytes, prefix: bytes, limit: int) -> list[Item]:
        name, group, least = self._group(table, prefix)
        place, written = bound[len(group) :], self._groups.get((table, group))
        span = "ZREVRANGEBYLEX", name, b"(" + _ended(place), b"[" + _escaped(least) if least else b"-"
        fetched = limit
        while True:
            stored = [_parted(member) for member in self._read((*span, "LIMIT", 0, fetched)) or ()]
            partly = len(stored) == fetched
            if written is not None:
                stored = written.over(stored, stored[-1][0] if partly else least, place)[::-1]
            if len(stored) >= limit or not partly:
                return [(group + rest, value) for rest, value in stored[:limit]]
            fetched *= 2  # of what Redis has, some was deleted here

    def onward(self, table: str, bound: bytes, prefix: bytes, limit: int | None = None) -> list[Item]:
        name, group, least = self._group(table, prefix)
        place, written = bound[len(group) :], self._groups.get((table, group))
        beyond = _after(least)
        span = "ZRANGEBYLEX", name, b"[" + _ended(place), b"(" + _escaped(beyond) if beyond else b"+"
        fetched = limit
        while True:
            command = span if fetched is None else (*span, "LIMIT", 0, fetched)
            stored = [_parted(member) for member in self._read(command) or ()]
            partly = len(stored) == fetched
            if written is not None:
                stored = written.over(stored, place, stored[-1][0] + b"\x00" if partly else beyond)
            if limit is None or len(stored) >= limit or not partly:
                return [(group + rest, value) for rest, value in stored[:limit]]
            fetched = 2 * (fetched or 0)

    def rehearse(self, act: Callable[[], object]) -> None:
        """Do `act`, which uses these tables, fetch what it would have read, and forget what it wrote.

        What was there may lead it further, so it is done again if something was there.
        """
        for _ in range(_ROUNDS):
            self._missing = {}
            with suppress(InputError):  # the transaction itself will meet it, and undo what it did
                act()
            missing, self._missing = list(self._missing), None
            self._hashes = {table: {} for table in HASHES}
            self._groups.clear()
            if not missing:
                return
            replies = self._fetch(missing, self.touched)
            self._known.update(zip(missing, replies, strict=True))
            notes = self._prefix + NOTES.encode()
            if not any(
                reply
                for (verb, name, *_), reply in zip(missing, replies, strict=True)
                if verb == "HGET" and name != notes
            ):
                return

    def writes(self) -> list[Command]:
        """The commands that write what was written."""
        commands: list[Command] = []
        for table, values in self._hashes.items():
            name = self._prefix + table.encode()
            if gone := [key for key, value in values.items() if value is None]:
                commands.append(("HDEL", name, *gone))
            if kept := [part for item in values.items() if item[1] is not None for part in item]:
                commands.append(("HSET", name, *kept))
        for (table, group), written in self._groups.items():
            name = self._prefix + table.encode() + b":" + group
            old, new = written.changes()
            commands += [("ZREMRANGEBYLEX", name, b"[" + start, b"(" + end) for start, end in old]
            if new:
                commands.append(("ZADD", name, *[part for member in new for part in (0, member)]))
        return commands

    def _set(self, table: str, key: bytes, value: bytes | None) -> None:
        if table in HASHES:
            self.touched.add(b"id:" + key)
            self._hashes[table][key] = value
            return
        group = key[: _group_length(key)]
        self.touched.add(b"key:" + group[1:])
        written = self._groups.get((table, group))
        if written is None:
            written = self._groups[table, group] = _Group()
        written.set(key[len(group) :], value)

    def _group(self, table: str, prefix: bytes) -> tuple[bytes, bytes, bytes]:
        group = prefix[: _group_length(prefix)]
        self.touched.add(b"key:" + group[1:])
        return self._prefix + table.encode() + b":" + group, group, prefix[len(group) :]

    def _read(self, command: Command) -> Any:
        if command in self._known:
            return self._known[command]
        if self._missing is not None:
            self._missing[command] = None
            return None
        [reply] = self._fetch([command], self.touched)
        self._known[command] = reply
        return reply


class _Group:
    """What was written into one sorted set, by the rest of the key; None is deleted."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes | None] = {}
        self._order: list[bytes] = []

    def set(self, rest: bytes, value: bytes | None) -> None:
        if rest not in self._values:
            insort(self._order, rest)
        self._values[rest] = value

    def over(self, stored: list[Item], start: bytes, end: bytes) -> list[Item]:
        """What is stored from `start` until `end`, or without end, in any order, with what was written there."""
        low = bisect_left(self._order, start)
        high = bisect_left(self._order, end) if end else len(self._order)
        if low >= high:
            return sorted(stored)
        merged: dict[bytes, bytes | None] = dict(stored)
        merged.update({rest: self._values[rest] for rest in self._order[low:high]})
        return sorted((rest, value) for rest, value in merged.items() if value is not None)

    def changes(self) -> tuple[list[Item], list[bytes]]:
        """The spans of members to remove, and the members to add."""
        starts = [(rest, _ended(rest)) for rest in self._order]
        old = [(start, start[:-1] + b"\x01") for _, start in starts]
        return old, [start + value for rest, start in starts if (value := self._values[rest]) is not None]


def _group_length(key: bytes) -> int:
    """Of a stream's number and an encoded id (`serving.plan.encode_id`) at the start of a key."""
    kind = key[1]
    if kind == 1:
        return 10
    return key.index(b"\x00\x00", 2) + 2 if kind == 2 else 2


def _escaped(rest: bytes) -> bytes:
    return rest.replace(b"\x00", b"\x00\xff")


def _ended(rest: bytes) -> bytes:
    """Sorts as `rest` does, and no two begin alike."""
    return rest.replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def _parted(member: bytes) -> Item:
    end = member.index(b"\x00\x00")
    return member[:end].replace(b"\x00\xff", b"\x00"), member[end + 2 :]


def _after(prefix: bytes) -> bytes:
    """The least bytes after all that begin with `prefix`; nothing if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b""
