"""The online store on one machine: LMDB, a memory-mapped B+ tree in a folder.

Commits are not flushed to the disk one by one. They survive the death of the process (the page cache belongs to the
kernel) but not a loss of power, which may also leave the file damaged. `mlops promote` fills a new store from the event
tables, and a server that starts gives it the last decisions and labels of its logs again (`serving.service.RECENT`).
What was served before those and since the tables were made is missing in the new store's windows, and a repeat of such
an event is scored again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb
import msgspec

from mlops.bundle import Schema
from mlops.errors import SetupError
from serving.plan import StorePlan
from serving.store import MadeAnewError, Rehearsal, StoreTransaction
from serving.tables import TABLES, UNORDERED, group_of
from serving.totals import Layouts, Totals

__all__ = ["LmdbStore"]

MAP_BYTES = 128 * 2**30
"""How far the file may grow. It is address space, not memory; the file is as large as what it holds."""

_ANEW = "remove the folder, and fill a new store: mlops promote"
_LITTLE_BYTES = 2**16
_PLAN = b"plan"
_SCANNED = 1000
_UNWRITTEN_BYTES = 2**20


class LmdbStore:
    """The store in the folder `path`, made if there is none. One process writes at a time; others wait.

    Args:
        path: its folder.
        needed: the totals that it must hold. A store without events takes on this plan.
        schema: of the events that it will be fed.

    Raises:
        ConfigError: it holds events, and lacks totals or is of other events.
        SetupError: the folder cannot be used, or what is in it is no store, or one that was emptied.
    """

    def __init__(self, path: Path, needed: StorePlan, schema: Schema) -> None:
        self._path = path
        self._in_place = True
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._env, self._file = _opened(path)
        except (OSError, lmdb.Error) as error:
            raise _failure("cannot be used as a store", error, path) from None
        try:
            self._check_whole()
            self._dbs = {table: self._env.open_db(table.encode()) for table in TABLES}
            self._meta = self._env.open_db(b"meta")
            self._written_plan = self._settle(needed)
            self._plan = StorePlan.read(self._written_plan, where=path)
            self._plan.check_serves(needed, schema, where=path)
            self._layouts = Layouts(self._plan)
        except lmdb.Error as error:
            self._env.close()
            raise _failure("cannot be used as a store", error, path) from None
        except BaseException:
            self._env.close()
            raise

    @property
    def plan(self) -> StorePlan:
        return self._plan

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        """See `OnlineStore`.

        Raises:
            MadeAnewError: another process gave the store another plan, or it was found not to be in its place.
            SetupError: the disk or the map is full, or LMDB reports another error.
        """
        if not self._in_place:
            raise MadeAnewError(
                "was removed, or is another store by now", where=self._path, todo="start again"
            )
        try:
            with self._env.begin(write=True) as transaction:
                if transaction.get(_PLAN, db=self._meta) != self._written_plan:
                    raise MadeAnewError("the store was made anew", where=self._path, todo="start again")
                yield Totals(_LmdbTables(transaction, self._dbs), self._layouts)
        except lmdb.Error as error:
            raise _failure("cannot be written to", error, self._path) from None

    def scan(self, table: str) -> Iterator[bytes]:
        """See `OnlineStore`. It reads a thousand at a time, lest an old snapshot keeps the file from being reused."""
        bound, found = b"\x00", [b""]
        while found:
            found = []
            with self._reading() as transaction:
                cursor = transaction.cursor(self._dbs[table])
                while len(found) < _SCANNED and cursor.set_range(bound):
                    key = cursor.key() if table in UNORDERED else group_of(cursor.key())
                    found.append(key)
                    # The next key, or the next group: what follows a group begins with an encoded time.
                    bound = key + (b"\x00" if table in UNORDERED else b"\xff" * 9)
            yield from found

    def count(self, table: str) -> int:
        with self._reading() as transaction:
            return int(transaction.stat(self._dbs[table])["entries"])

    def size_bytes(self) -> int:
        return (self._path / "data.mdb").stat().st_blocks * 512

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        try:
            with self._env.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise _failure("cannot be read", error, self._path) from None

    def server_run(self) -> str:
        return ""

    def is_in_place(self) -> bool:
        """Whether the file in the folder is still the one that was opened; once it is not, nothing is written any more.

        What is written to a file that was removed is lost, and others open another one.
        """
        try:
            self._in_place = self._in_place and _identity(self._path) == self._file
        except (FileNotFoundError, NotADirectoryError):
            self._in_place = False
        except OSError:  # it cannot be seen, which does not say that it is gone
            pass
        return self._in_place

    def close(self) -> None:
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise _failure("cannot be flushed to the disk", error, self._path) from None
        finally:
            self._env.close()

    def _check_whole(self) -> None:
        """See that the file is as long as what it says it holds: to read behind its end would kill the process.

        The last pages may be missing in a store that is whole, where the commit that asked for them did without.

        Raises:
            SetupError: more is missing than that.
        """
        file = self._path / "data.mdb"
        with self._env.begin(write=True):  # while nobody else makes it longer
            least = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
            missing = least - file.stat().st_size
            if 0 < missing <= _UNWRITTEN_BYTES:
                os.truncate(file, least)
        if missing > _UNWRITTEN_BYTES:
            raise SetupError(
                f"cannot be used as a store: {missing} bytes of its data.mdb are missing",
                where=self._path,
                todo=_ANEW,
            )

    def _settle(self, needed: StorePlan) -> bytes:
        """The plan of what the store holds, or `needed` if it holds no events yet, as it is written in the store."""
        with self._env.begin(write=True) as transaction:
            written = transaction.get(_PLAN, db=self._meta)
            if written is None or not transaction.stat(self._dbs["events"])["entries"]:
                written = msgspec.json.encode(needed)
                transaction.put(_PLAN, written, db=self._meta)
        return written


def _identity(path: Path) -> tuple[int, int]:
    stat = (path / "data.mdb").stat()
    return stat.st_dev, stat.st_ino


def _opened(path: Path) -> tuple[lmdb.Environment, tuple[int, int]]:
    """The store in a folder, or a new one, and which file it is in.

    One process at a time: a file is empty while another makes a store of it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        file = path / "data.mdb"
        if file.exists() and not file.stat().st_size:
            raise SetupError(
                "cannot be used as a store: its data.mdb is empty",
                where=path,
                todo=f"restore it; or {_ANEW}",
            )
        env = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=len(TABLES) + 1, sync=False, readahead=False)
        return env, _identity(path)
    finally:
        os.close(descriptor)


def _failure(what: str, error: OSError | lmdb.Error, path: Path) -> SetupError:
    """The error, and that the disk is full if it is: LMDB may call that an input/output error."""
    full = isinstance(error, lmdb.DiskError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
    if not full:
        with suppress(OSError):
            space = os.statvfs(path)
            full = space.f_bavail * space.f_frsize < _LITTLE_BYTES
    if full:
        return SetupError(f"{what}: the disk is full ({error})", where=path, todo="free some of it")
    if isinstance(error, lmdb.MapFullError):
        limit = f"it has grown to its limit of {MAP_BYTES // 2**30} GiB ({error})"
        return SetupError(f"{what}: {limit}", where=path, todo="forget old events: mlops store forget")
    return SetupError(f"{what}: {error}", where=path)


class _LmdbTables:
    def __init__(self, transaction: lmdb.Transaction[bytes], dbs: dict[str, lmdb._Database]) -> None:
        self._transaction = transaction
        self._dbs = dbs
        self._cursors: dict[str, lmdb.Cursor[bytes]] = {}

    def _cursor(self, table: str) -> lmdb.Cursor[bytes]:
        cursor = self._cursors.get(table)
        if cursor is None:
            cursor = self._cursors[table] = self._transaction.cursor(self._dbs[table])
        return cursor

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._transaction.get(key, db=self._dbs[table])

    def put(self, table: str, items: Sequence[tuple[bytes, bytes]]) -> None:
        if items:
            self._cursor(table).putmulti(items)

    def delete(self, table: str, key: bytes) -> None:
        self._transaction.delete(key, db=self._dbs[table])

    def before(self, table: str, bound: bytes) -> tuple[bytes, bytes] | None:
        cursor = self._cursors.get(table) or self._cursor(table)
        found = cursor.prev() if cursor.set_range(bound) else cursor.last()
        return cursor.item() if found else None

    def onward(
        self, table: str, bound: bytes, prefix: bytes, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        cursor = self._cursor(table)
        found: list[tuple[bytes, bytes]] = []
        more = cursor.set_range(bound)
        while more and len(found) != limit and cursor.key().startswith(prefix):
            found.append(cursor.item())
            more = cursor.next()
        return found

    def back(self, table: str, bound: bytes, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        cursor = self._cursor(table)
        found: list[tuple[bytes, bytes]] = []
        more = cursor.prev() if cursor.set_range(bound) else cursor.last()
        while more and len(found) != limit and cursor.key().startswith(prefix):
            found.append(cursor.item())
            more = cursor.prev()
        return found
