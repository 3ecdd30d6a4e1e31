"""The online store in Redis, which several server processes share, also on several machines.

A transaction takes two round trips: the first one locks the ids and keys of its events and reads all that it will need
(it learns what from a rehearsal), the second one writes and frees the locks, at once (MULTI, EXEC). A lock ends by
itself, so that a process that dies keeps nobody waiting for long. One that was stopped for longer finds at its end that
its locks are not its own any more (WATCH), and writes nothing.

Redis keeps what it is set to keep. With `appendonly yes` and `appendfsync always` that is all that was committed; with
`everysec` the last two seconds may be lost when it crashes or loses power; without `appendonly`, all since its last
snapshot. `serving.service` gives it what it lost of the last moments from the logs; an empty one is refused.

In a server all wait for one exchange with it: a second at most, and half a second for locks. What is asked beside that,
for metrics and readiness, has a connection of its own.
"""

from __future__ import annotations

import random
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from mlops.bundle import Schema
from mlops.errors import SetupError
from serving.plan import StorePlan
from serving.redis_tables import RedisTables
from serving.redis_wire import Command, RedisWire, without_prefix
from serving.store import BusyError, MadeAnewError, Rehearsal, StoreTransaction
from serving.tables import UNORDERED
from serving.totals import Layouts, Totals

__all__ = ["RedisStore"]

LOCK_MS = 3000
"""How long a transaction may take, and how long the locks of a dead process last; a millisecond more for each lock."""

PATIENCE_S = 6.0
"""How long a transaction waits for locks."""

HASTE_S = 0.5
"""The same in a server that has started, where all others wait meanwhile: what it gives up is sent again."""

_LOCK = b"""
for _, name in ipairs(KEYS) do
    local owner = redis.call('GET', name)
    if owner and owner ~= ARGV[1] then return 0 end
end
for _, name in ipairs(KEYS) do redis.call('SET', name, ARGV[1], 'PX', ARGV[2]) end
return 1
"""


class RedisStore:
    """The store in the keys of a Redis that begin with a prefix.

    Args:
        uri: see `RedisWire`; `prefix=…` in its query names another prefix than `mlops`.
        needed: the totals that it must hold. A store without events takes on this plan.
        schema: of the events that it will be fed.

    Raises:
        ConfigError: it holds events, and lacks totals or is of other events; or the URI is none.
        SetupError: the Redis cannot be used.
    """

    def __init__(self, uri: str, needed: StorePlan, schema: Schema) -> None:
        uri, prefix = without_prefix(uri)
        self._wire = RedisWire(uri)
        self._aside = RedisWire(uri)
        """For what is asked beside the transactions, by other threads."""
        self._where = f"{self._wire.name} ({prefix})"
        self._prefix = f"{prefix}:".encode()
        self._token = secrets.token_bytes(12)
        self._one_at_a_time = threading.Lock()
        self._one_asks = threading.Lock()
        self._run = ""
        self._is_hasty = False
        try:
            self._written_plan = self._settle(needed)
            self._plan = StorePlan.read(self._written_plan, where=self._where)
            self._plan.check_serves(needed, schema, where=self._where)
            self._layouts = Layouts(self._plan)
        except BaseException:
            self._wire.close()
            raise

    @property
    def plan(self) -> StorePlan:
        return self._plan

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        """See `OnlineStore`.

        Raises:
            SetupError: the Redis cannot be used, the store got another plan, others held the locks for too long, or
                this transaction did; then nothing is written, unless the connection broke while it was.
        """
        with self._one_at_a_time:
            patience_s = HASTE_S if self._is_hasty else PATIENCE_S
            locks = _Locks(self._wire, self._prefix, self._token, self._written_plan, self._where, patience_s)
            tables = RedisTables(self._prefix, locks.fetch)
            transaction = Totals(tables, self._layouts)
            try:
                if rehearsal is not None:
                    tables.rehearse(lambda: rehearsal(transaction))
                yield transaction
                writes = tables.writes()
                if tables.touched - locks.held:
                    locks.fetch((), tables.touched)
            except BaseException:
                with suppress(SetupError):  # then they end by themselves
                    locks.free(())
                raise
            if not locks.free(writes):
                raise SetupError(
                    "the locks were lost, nothing is written",
                    where=self._where,
                    todo="send the request again",
                )

    def server_run(self) -> str:
        with self._one_at_a_time:
            run = self._wire.server_run()
            if run != self._run:
                _check_plan(
                    self._wire.exchange([("GET", self._prefix + b"plan")])[0], self._written_plan, self._where
                )
                self._run = run
            else:
                self._is_hasty = True  # it is asked again and again: as a server does, before each request
            return run

    def scan(self, table: str) -> Iterator[bytes]:
        ordered, name = table not in UNORDERED, self._prefix + table.encode()
        cursor = b"0"
        while True:
            command: Command = ("HSCAN", name, cursor, "COUNT", 1000)
            if ordered:
                command = ("SCAN", cursor, "MATCH", _literal(name) + b":*", "COUNT", 1000)
            with self._one_asks:
                [(cursor, found)] = self._aside.exchange([command], twice=True)
            yield from [key[len(name) + 1 :] for key in found] if ordered else found[::2]
            if cursor == b"0":
                return

    def count(self, table: str) -> int:
        name = self._prefix + table.encode()
        asked: list[Command] = [("HLEN", name)]
        if table not in UNORDERED:
            asked = [("ZCARD", name + b":" + group) for group in set(self.scan(table))]
        with self._one_asks:
            return sum(self._aside.exchange(asked, twice=True)) if asked else 0

    def size_bytes(self) -> int:
        asked: list[Command] = [("INFO", "memory"), ("GET", self._prefix + b"plan")]
        told: bytes
        with self._one_asks:
            told, plan = self._aside.exchange(asked, twice=True)
        _check_plan(plan, self._written_plan, self._where)
        return int(dict(line.split(":", 1) for line in told.decode().split() if ":" in line)["used_memory"])

    def close(self) -> None:
        self._wire.close()
        self._aside.close()

    def _settle(self, needed: StorePlan) -> bytes:
        """The plan of what the store holds, or `needed` if it holds no events yet, as it is written in the store."""
        plan, events = self._prefix + b"plan", self._prefix + b"events"
        while True:
            _, written, count = self._wire.exchange(
                [("WATCH", plan, events), ("GET", plan), ("HLEN", events)]
            )
            if written is not None and count:
                self._wire.exchange([("UNWATCH",)])
                return bytes(written)
            wanted = msgspec.json.encode(needed)
            if self._wire.exchange([("MULTI",), ("SET", plan, wanted), ("EXEC",)])[-1] is not None:
                return wanted


class _Locks:
    """The locks of one transaction, and what it asks while it holds them."""

    def __init__(
        self, wire: RedisWire, prefix: bytes, token: bytes, plan: bytes, where: str, patience_s: float
    ) -> None:
        self._wire = wire
        self._lock = prefix + b"lock:"
        self._plan_key = prefix + b"plan"
        self._token = token
        self._plan = plan
        self._where = where
        self._patience_s = patience_s
        self.held: set[bytes] = set()

    def fetch(self, commands: Sequence[Command], names: set[bytes]) -> list[Any]:
        """Read, once these names are locked: all that are not yet, or none.

        Raises:
            SetupError: see `RedisStore.begin`.
        """
        new = names - self.held
        if not new:
            return self._exchange(commands)
        wanted = [self._lock + name for name in new]
        watched = (self._plan_key, *wanted, *[self._lock + name for name in self.held])
        asked: list[Command] = [
            ("UNWATCH",),
            ("EVAL", _LOCK, len(wanted), *wanted, self._token, LOCK_MS + len(wanted)),
            ("WATCH", *watched),
            ("MGET", *watched),
            *commands,
        ]
        deadline, pause = time.monotonic() + self._patience_s, 0.0002
        while True:
            _, locked, _, (plan, *owners), *replies = self._exchange(asked)
            if locked:
                self.held |= new
            _check_plan(plan, self._plan, self._where)
            if locked:
                break
            if time.monotonic() > deadline:
                raise BusyError(
                    "another process holds the locks", where=self._where, todo="send the request again"
                )
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.05)
        if any(owner != self._token for owner in owners):
            raise SetupError("the locks were lost", where=self._where, todo="send the request again")
        return replies

    def free(self, writes: Sequence[Command]) -> bool:
        """Write and let go of the locks, at once, or neither if they were lost. Notes are written without any."""
        if not self.held and not writes:
            return True
        freed: list[Command] = [("DEL", *[self._lock + name for name in self.held])] if self.held else []
        done = self._exchange([("MULTI",), *writes, *freed, ("EXEC",)])[-1]
        self.held = set()
        if failed := next((reply for reply in done or () if isinstance(reply, Exception)), None):
            raise SetupError(f"a part was not written: {failed}", where=self._where)
        return done is not None

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._wire.exchange(commands, twice=not self.held)
        except SetupError:
            self.held = set()  # they end by themselves
            raise


def _check_plan(found: bytes | None, written: bytes, where: str) -> None:
    if not found:
        what = "the store is empty: the Redis has lost it"
        raise SetupError(what, where=where, todo="backfill it, and start again")
    if found != written:
        raise MadeAnewError("the store was made anew", where=where, todo="backfill it, and start again")


def _literal(name: bytes) -> bytes:
    """A name as a pattern that matches it alone."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", name)
