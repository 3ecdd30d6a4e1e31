"""Ordered tables in Redis, as one transaction sees them.

What was read is remembered, what is written is kept here until the end, and the second is laid over the first.

A table that is read by key alone is a hash. A table that is read in order is a sorted set for each stream and key
(`serving.redis_sets`). Totals are read one by one, wherever they lie; of the other sets the end is read at once, where
what is asked for lies, but for keys with very many events. Numbers are added here, not in Redis, whose scripts know
doubles only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from mlops.errors import InputError
from serving.codes import id_length
from serving.redis_sets import PAGE, Item, Tail, Written, after, ended, escaped, parted
from serving.redis_wire import Command
from serving.tables import EVENTS, NOTES, TOTALS, UNORDERED, keys_of

__all__ = ["RedisTables"]

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
        self._tails: dict[bytes, Tail] = {}
        self._missing: dict[Command, None] | None = None
        self._values: dict[str, dict[bytes, bytes | None]] = {table: {} for table in UNORDERED}
        self._sets: dict[tuple[str, bytes], Written] = {}
        self.touched: set[bytes] = set()

    def get(self, table: str, key: bytes) -> bytes | None:
        written = self._values[table]
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
        place, written, fetched = bound[len(group) :], self._sets.get((table, group)), limit
        span = "ZREVRANGEBYLEX", name, b"(" + ended(place), b"[" + escaped(least) if least else b"-"
        while True:
            found = None
            if table != TOTALS or limit > 1:
                found = self._tail(name).back(least, place, fetched)
            if found is None:
                found = [parted(member) for member in self._read((*span, "LIMIT", 0, fetched)) or ()]
            partly = len(found) == fetched
            if written is not None:
                found = written.over(found, found[-1][0] if partly else least, place)[::-1]
            if len(found) >= limit or not partly:
                return [(group + key, value) for key, value in found[:limit]]
            fetched *= 2  # of what Redis has, some is deleted here

    def onward(self, table: str, bound: bytes, prefix: bytes, limit: int | None = None) -> list[Item]:
        name, group, least = self._group(table, prefix)
        place, written, fetched = bound[len(group) :], self._sets.get((table, group)), limit
        beyond = after(least)
        span = "ZRANGEBYLEX", name, b"[" + ended(place), b"(" + escaped(beyond) if beyond else b"+"
        while True:
            found = None
            if table != TOTALS or limit is not None:
                found = self._tail(name).onward(place, beyond, fetched)
            if found is None:
                command = span if fetched is None else (*span, "LIMIT", 0, fetched)
                found = [parted(member) for member in self._read(command) or ()]
            partly = len(found) == fetched
            if written is not None:
                found = written.over(found, place, found[-1][0] + b"\x00" if partly else beyond)
            if limit is None or len(found) >= limit or not partly:
                return [(group + key, value) for key, value in found[:limit]]
            fetched = 2 * (fetched or 0)

    def rehearse(self, act: Callable[[], object]) -> None:
        """Do `act` on empty tables, fetch what it read there, and forget what it wrote.

        The keys of events that turn out to be there are locked as well: whoever changes an event changes its keys.
        """
        self._missing = {}
        with suppress(InputError):  # the transaction itself will meet it, and undo what it did
            act()
        missing, self._missing = list(self._missing), None
        self._values = {table: {} for table in UNORDERED}
        self._sets.clear()
        self._tails.clear()
        self._known.update(zip(missing, self._fetch(missing, self.touched), strict=True))
        events = self._prefix + EVENTS.encode()
        there = [reply for command, reply in self._known.items() if reply and command[1] == events]
        if more := {b"key:" + key for event in there for key in keys_of(event)} - self.touched:
            self.touched |= more
            self._fetch((), self.touched)

    def writes(self) -> list[Command]:
        """The commands that write what was written."""
        commands: list[Command] = []
        for table, values in self._values.items():
            name = self._prefix + table.encode()
            if gone := [key for key, value in values.items() if value is None]:
                commands.append(("HDEL", name, *gone))
            if kept := [(key, value) for key, value in values.items() if value is not None]:
                commands.append(("HSET", name, *[part for item in kept for part in item]))
        for (table, group), written in self._sets.items():
            name = self._prefix + table.encode() + b":" + group
            spans, members = written.changes()
            commands += [("ZREMRANGEBYLEX", name, b"[" + start, b"(" + end) for start, end in spans]
            if members:
                commands.append(("ZADD", name, *[part for member in members for part in (0, member)]))
        return commands

    def _set(self, table: str, key: bytes, value: bytes | None) -> None:
        if table in UNORDERED:
            if table != NOTES:
                self.touched.add(b"id:" + key)
            self._values[table][key] = value
            return
        group = key[: _group_length(key)]
        self.touched.add(b"key:" + group[1:])
        written = self._sets.get((table, group))
        if written is None:
            written = self._sets[table, group] = Written()
        written.set(key[len(group) :], value)

    def _group(self, table: str, prefix: bytes) -> tuple[bytes, bytes, bytes]:
        """The name of the set where keys with this prefix are, how they begin there, and what is left of the prefix."""
        group = prefix[: _group_length(prefix)]
        self.touched.add(b"key:" + group[1:])
        return self._prefix + table.encode() + b":" + group, group, prefix[len(group) :]

    def _tail(self, name: bytes) -> Tail:
        tail = self._tails.get(name)
        if tail is None:
            members = self._read(("ZREVRANGEBYLEX", name, b"+", b"-", "LIMIT", 0, PAGE))
            tail = self._tails[name] = Tail(members or ())
        return tail

    def _read(self, command: Command) -> Any:
        if command in self._known:
            return self._known[command]
        if self._missing is not None:
            self._missing[command] = None
            return None
        [reply] = self._fetch([command], self.touched)
        self._known[command] = reply
        return reply


def _group_length(key: bytes) -> int:
    """Of a stream's number and an encoded id at the start of a key."""
    return 1 + id_length(key, 1)
