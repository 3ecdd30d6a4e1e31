"""The online store in this process's memory, for tests and for trying things out."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from serving.plan import StorePlan
from serving.store import Rehearsal, StoreTransaction
from serving.tables import TABLES, UNORDERED, group_of
from serving.totals import Layouts, Totals

__all__ = ["InMemoryStore"]


class InMemoryStore:
    """A store that ends with its process."""

    def __init__(self, plan: StorePlan) -> None:
        self._plan = plan
        self._layouts = Layouts(plan)
        self._tables = _MemoryTables()

    @property
    def plan(self) -> StorePlan:
        return self._plan

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        self._tables.undo.clear()
        try:
            yield Totals(self._tables, self._layouts)
        except BaseException:
            self._tables.roll_back()
            raise

    def scan(self, table: str) -> Iterator[bytes]:
        keys = self._tables.keys_of(table)
        yield from keys if table in UNORDERED else dict.fromkeys(group_of(key) for key in keys)

    def count(self, table: str) -> int:
        return len(self._tables.keys_of(table))

    def size_bytes(self) -> int:
        return self._tables.size_bytes()

    def server_run(self) -> str:
        return ""

    def close(self) -> None:
        self._tables = _MemoryTables()


class _MemoryTables:
    def __init__(self) -> None:
        self._values: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._keys: dict[str, list[bytes]] = {table: [] for table in TABLES}
        self.undo: list[tuple[str, bytes, bytes | None]] = []

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._values[table].get(key)

    def keys_of(self, table: str) -> list[bytes]:
        """The keys of a table, in order."""
        return list(self._keys[table])

    def size_bytes(self) -> int:
        """The length of all keys and values."""
        return sum(len(key) + len(value) for table in self._values.values() for key, value in table.items())

    def put(self, table: str, items: Sequence[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            self._set(table, key, value)

    def delete(self, table: str, key: bytes) -> None:
        self._set(table, key, None)

    def before(self, table: str, bound: bytes) -> tuple[bytes, bytes] | None:
        keys = self._keys[table]
        place = bisect_left(keys, bound)
        return (keys[place - 1], self._values[table][keys[place - 1]]) if place else None

    def onward(
        self, table: str, bound: bytes, prefix: bytes, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        keys, values = self._keys[table], self._values[table]
        found: list[tuple[bytes, bytes]] = []
        for place in range(bisect_left(keys, bound), len(keys)):
            if len(found) == limit or not keys[place].startswith(prefix):
                break
            found.append((keys[place], values[keys[place]]))
        return found

    def back(self, table: str, bound: bytes, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        keys, values = self._keys[table], self._values[table]
        found: list[tuple[bytes, bytes]] = []
        for place in range(bisect_left(keys, bound) - 1, -1, -1):
            if len(found) == limit or not keys[place].startswith(prefix):
                break
            found.append((keys[place], values[keys[place]]))
        return found

    def roll_back(self) -> None:
        """Set everything back to what it was when `undo` was cleared."""
        for table, key, value in reversed(self.undo[:]):
            self._set(table, key, value)

    def _set(self, table: str, key: bytes, value: bytes | None) -> None:
        values, keys = self._values[table], self._keys[table]
        self.undo.append((table, key, values.get(key)))
        if value is None:
            if key in values:
                del values[key], keys[bisect_left(keys, key)]
        else:
            if key not in values:
                insort(keys, key)
            values[key] = value
