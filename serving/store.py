"""The port of the online store: what a key's events add up to, the events counted, and the answers given.

- An event counts once, however often it is sent; a late one is added to all later totals of its keys.
- A label may come before its event: it is held until the event arrives. The last label of an event holds.
- What a transaction did is undone if its block raises.

`serving.totals` does this over any tables that are ordered by key (`OrderedTables`); `serving.memory_store` and
`serving.lmdb_store` bring such tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mlops.errors import SetupError
from serving.entries import Entry
from serving.plan import StorePlan

__all__ = ["BusyError", "MadeAnewError", "OnlineStore", "OrderedTables", "Rehearsal", "StoreTransaction"]


class BusyError(SetupError):
    """Others are at the same events or keys; the store can be used."""


class MadeAnewError(SetupError):
    """The store is another one by now, which has to be opened."""


class StoreTransaction(Protocol):
    """What can be done in one transaction. All ids and keys are encoded."""

    def answers(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """The answers once saved under these ids."""
        ...

    def append(self, entries: Sequence[Entry]) -> int:
        """Count the events that were not counted yet, in any order; return how many.

        Raises:
            ConflictError: an id was counted before with another time or key.
            InputError: an event is older than what was forgotten.
        """
        ...

    def label(self, labels: Sequence[tuple[bytes, int | float, int]]) -> list[int]:
        """Set labels: id, label, and when it was known, in microseconds of event time.

        Returns:
            the places of those whose event is not there: they are held for it.
        """
        ...

    def totals(self, stream: int, key: bytes, bounds: Sequence[bytes]) -> list[tuple[int, ...]]:
        """A key's running totals right before each bound."""
        ...

    def first(self, stream: int, key: bytes, low: bytes, high: bytes) -> int | None:
        """The time of a key's first event from `low` on and before `high`."""
        ...

    def last(
        self, stream: int, key: bytes, low: bytes, high: bytes, n: int
    ) -> list[tuple[int, tuple[int | None, ...]]]:
        """Time and kept values of a key's last events, at most `n`, from `low` on and before `high`, newest first."""
        ...

    def ids(self, stream: int, key: bytes, low: bytes, high: bytes) -> list[bytes]:
        """The ids of a key's events from `low` on and before `high`, in order."""
        ...

    def extremes(
        self, stream: int, key: bytes, lows: Sequence[bytes], high: bytes
    ) -> list[tuple[int | None, ...]]:
        """Least and largest values of the stream's ranged columns, in turn, from each of `lows` on and before `high`.

        Args:
            lows: each one before the one before.
        """
        ...

    def distinct(self, stream: int, key: bytes, series: int, bound: bytes) -> int:
        """How many different values a series has in its window that ends right before `bound`."""
        ...

    @property
    def forgotten_us(self) -> int | None:
        """The time before which nothing is known any more, if something was forgotten."""
        ...

    def deleted_us(self, keys: Sequence[bytes]) -> int | None:
        """When one of these keys of an event was deleted last, in microseconds by the clock."""
        ...

    def remove(self, key: int, value: bytes, n: int) -> int:
        """Remove the newest events of a key, at most `n`: their records and answers, and they from its streams.

        The other keys' streams keep them. With its last event all that the key's streams have goes.

        Args:
            key: which of the plan's keys.

        Returns:
            how many there were.
        """
        ...

    def delete(self, key: int, value: bytes, now_us: int) -> None:
        """Note that a key is deleted, and when by the clock: events that were logged before are not given back."""
        ...

    def forget(self, before_us: int) -> None:
        """Note that nothing from before a time is known any more."""
        ...

    def forget_records(self, ids: Sequence[bytes], before_us: int) -> int:
        """Remove records and answers of those of these events that are older, and held labels known before.

        Returns:
            how many events there were.
        """
        ...

    def forget_places(
        self, group: bytes, before_us: int, seen: Sequence[bytes | None], limit: int
    ) -> tuple[list[bytes | None], int]:
        """Remove from a stream and key what is older, but for what differences need, some `limit` at a time.

        Args:
            seen: what it returned the time before; nothing at first.

        Returns:
            where it goes on, nothing if all is done; and how many places were removed.
        """
        ...

    def save_answers(self, answers: Mapping[bytes, bytes]) -> None:
        """Save answers under ids."""
        ...


Rehearsal = Callable[[StoreTransaction], object]
"""What a transaction will do, done with one that knows nothing and forgets all."""


class OnlineStore(Protocol):
    """A store."""

    @property
    def plan(self) -> StorePlan:
        """The totals that it holds."""
        ...

    def begin(self, rehearsal: Rehearsal | None = None) -> AbstractContextManager[StoreTransaction]:
        """A transaction that reads and writes. No two that touch the same ids or keys run at a time.

        Args:
            rehearsal: a store across a network learns from it what to fetch at once; others do not call it.
        """
        ...

    def scan(self, table: str) -> Iterator[bytes]:
        """The keys of a table, or, of one that is read in order, the stream's number and the key that they begin with.

        They are in no order, and one may come twice. Those that come or go meanwhile may be missing.
        """
        ...

    def count(self, table: str) -> int:
        """How many entries a table has."""
        ...

    def size_bytes(self) -> int:
        """What it takes: its file, or the memory of its server."""
        ...

    def server_run(self) -> str:
        """Which run of its server this is, if it has one. A later run may not know what was committed last.

        Raises:
            SetupError: it cannot be reached.
        """
        ...

    def close(self) -> None:
        """Let go of it; what was committed stays."""
        ...


class OrderedTables(Protocol):
    """Tables of bytes, ordered by key."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value of a key."""
        ...

    def put(self, table: str, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Set keys to values, in the order of keys."""
        ...

    def delete(self, table: str, key: bytes) -> None:
        """Remove a key that is there."""
        ...

    def before(self, table: str, bound: bytes) -> tuple[bytes, bytes] | None:
        """The last key below `bound`, and its value."""
        ...

    def onward(
        self, table: str, bound: bytes, prefix: bytes, limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """The keys from `bound` on that start with `prefix`, and their values, in order; at most `limit`."""
        ...

    def back(self, table: str, bound: bytes, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """The last keys below `bound` that start with `prefix`, and their values, the last one first."""
        ...
