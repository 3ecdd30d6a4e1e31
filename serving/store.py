"""The port of the online store: running totals per key, the events it has counted, and the answers it has given.

- An event counts once, however often it is sent; a late one is added to all later totals of its keys.
- A label may come before its event: it is held until the event arrives. The last label of an event holds.
- What a transaction did is undone if its block raises.

`serving.totals` does this over any tables that are ordered by key (`OrderedTables`); `serving.memory_store` and
`serving.lmdb_store` bring such tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from serving.plan import Entry, StorePlan, encode_time

__all__ = ["OnlineStore", "OrderedTables", "Rehearsal", "StoreTransaction", "up_to", "up_to_time"]


def up_to_time(time_us: int) -> bytes:
    """The bound behind all events at or before a time."""
    return encode_time(time_us + 1)


def up_to(time_us: int, event_id: bytes, *, inclusive: bool) -> bytes:
    """The bound behind, or right before, an event."""
    return encode_time(time_us) + event_id + (b"\x00" if inclusive else b"")


class StoreTransaction(Protocol):
    """What can be done in one transaction. All ids and keys are encoded."""

    def answers(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """The answers once saved under these ids."""
        ...

    def append(self, entries: Sequence[Entry]) -> int:
        """Count the events that were not counted yet, in any order; return how many.

        Raises:
            ConflictError: an id was counted before with another time or key.
        """
        ...

    def label(self, labels: Sequence[tuple[bytes, int]]) -> list[int]:
        """Set labels by id; return the places of those whose event is not there: they are held for it."""
        ...

    def totals(self, stream: int, key: bytes, bounds: Sequence[bytes]) -> list[tuple[int, ...]]:
        """A key's running totals right before each bound."""
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

    def check(self) -> None:
        """Check that it can be reached.

        Raises:
            SetupError: it cannot.
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
