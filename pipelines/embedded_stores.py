"""The embedded stores that were weighed against LMDB: just enough of each to be timed on the same work."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rocksdict import Options, Rdict, WriteBatch

from serving.plan import StorePlan
from serving.store import Rehearsal, StoreTransaction
from serving.tables import TABLES
from serving.totals import Layouts, Totals

__all__ = ["RocksStore", "SqliteStore"]

Item = tuple[bytes, bytes]


class SqliteStore:
    """SQLite with a write-ahead log. `synchronous` is its pragma: NORMAL flushes at checkpoints, OFF never."""

    def __init__(self, path: Path, plan: StorePlan, synchronous: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path / "store.db", isolation_level=None, timeout=30)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.execute("PRAGMA mmap_size = 1073741824")
        for table in TABLES:
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
            )
        self.plan = plan
        self._layouts = Layouts(plan)

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield Totals(_SqliteTables(self._connection), self._layouts)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class _SqliteTables:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._many = connection.executemany

    def get(self, table: str, key: bytes) -> bytes | None:
        row = self._execute(f"SELECT value FROM {table} WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, table: str, items: Sequence[Item]) -> None:
        self._many(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", items)

    def delete(self, table: str, key: bytes) -> None:
        self._execute(f"DELETE FROM {table} WHERE key = ?", (key,))

    def before(self, table: str, bound: bytes) -> Item | None:
        query = f"SELECT key, value FROM {table} WHERE key < ? ORDER BY key DESC LIMIT 1"
        row: Item | None = self._execute(query, (bound,)).fetchone()
        return row

    def onward(self, table: str, bound: bytes, prefix: bytes, limit: int | None = None) -> list[Item]:
        query = f"SELECT key, value FROM {table} WHERE key >= ? ORDER BY key"
        with closing(self._execute(query, (bound,))) as rows:
            return _while_in(rows, prefix, limit)

    def back(self, table: str, bound: bytes, prefix: bytes, limit: int) -> list[Item]:
        query = f"SELECT key, value FROM {table} WHERE key < ? ORDER BY key DESC"
        with closing(self._execute(query, (bound,))) as rows:
            return _while_in(rows, prefix, limit)


class RocksStore:
    """RocksDB with its write-ahead log, not flushed at each commit. One process can open it."""

    def __init__(self, path: Path, plan: StorePlan) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._db = Rdict(str(path), options)
        self.plan = plan
        self._layouts = Layouts(plan)

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        tables = _RocksTables(self._db)
        yield Totals(tables, self._layouts)
        batch = WriteBatch(raw_mode=True)
        for key, value in tables.written.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._db.write(batch)

    def close(self) -> None:
        self._db.close()


class _RocksTables:
    """One ordered space of keys, each behind its table's number; what is written is laid over it until the end."""

    def __init__(self, db: Rdict) -> None:
        self._db = db
        self._iterator = db.iter()
        self.written: dict[bytes, bytes | None] = {}
        self._order: list[bytes] = []

    def get(self, table: str, key: bytes) -> bytes | None:
        key = _number(table) + key
        if key in self.written:
            return self.written[key]
        found: bytes | None = self._db.get(key)
        return found

    def put(self, table: str, items: Sequence[Item]) -> None:
        for key, value in items:
            self._set(_number(table) + key, value)

    def delete(self, table: str, key: bytes) -> None:
        self._set(_number(table) + key, None)

    def before(self, table: str, bound: bytes) -> Item | None:
        found = self.back(table, bound, b"", 1)
        return found[0] if found else None

    def onward(self, table: str, bound: bytes, prefix: bytes, limit: int | None = None) -> list[Item]:
        number = _number(table)
        low, head = number + bound, number + prefix
        self._iterator.seek(low)
        found = self._stored(head, self._iterator.next, limit)
        for place in range(bisect_left(self._order, low), len(self._order)):
            if not (key := self._order[place]).startswith(head):
                break
            found[key] = self.written[key]
        return [(key[1:], value) for key, value in sorted(found.items()) if value is not None][:limit]

    def back(self, table: str, bound: bytes, prefix: bytes, limit: int) -> list[Item]:
        number = _number(table)
        high, head = number + bound, number + prefix
        self._iterator.seek_for_prev(high)
        if self._iterator.valid() and self._iterator.key() == high:
            self._iterator.prev()
        found = self._stored(head, self._iterator.prev, limit)
        for place in range(bisect_left(self._order, high) - 1, -1, -1):
            if not (key := self._order[place]).startswith(head):
                break
            found[key] = self.written[key]
        items = sorted(found.items(), reverse=True)
        return [(key[1:], value) for key, value in items if value is not None][:limit]

    def _set(self, key: bytes, value: bytes | None) -> None:
        if key not in self.written:
            insort(self._order, key)
        self.written[key] = value

    def _stored(self, head: bytes, step: Callable[[], None], limit: int | None) -> dict[bytes, bytes | None]:
        """From where the iterator stands: as many as are asked for, and as many more as may have been deleted."""
        found: dict[bytes, bytes | None] = {}
        most = None if limit is None else limit + sum(value is None for value in self.written.values())
        while len(found) != most and self._iterator.valid() and self._iterator.key().startswith(head):
            found[self._iterator.key()] = self._iterator.value()
            step()
        return found


def _number(table: str) -> bytes:
    return bytes((TABLES.index(table),))


def _while_in(rows: Iterable[Item], prefix: bytes, limit: int | None) -> list[Item]:
    found: list[Item] = []
    for key, value in rows:
        if len(found) == limit or not key.startswith(prefix):
            break
        found.append((key, value))
    return found
