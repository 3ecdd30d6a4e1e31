"""What leaves an online store: what no window can need any more, and all of one key.

Both work in small transactions, between which a server goes on, and can be run again where they were interrupted.

What is forgotten is noted in the store. From then on it refuses events from before that time, and to compute features
whose windows reach back there; those of all other events are what they were.

Deleting a key removes its totals and indexes, and the records and answers of its events, also where they are given by
their other keys. What stays: in the streams of the other keys, that there was an event with this id at this time, and
what it adds to their totals; labels held for events that never came, which are nobody's; a digest of the key, and when
it was deleted, so that a server that starts does not take its last events from the decision log again. The decision
log, the event tables and what was made of them are not the store's, and keep the events; a backfill passes over them,
but an empty store is filled with all that its tables have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec

from mlops.errors import ConfigError
from serving.codes import encode_id
from serving.events import time_text
from serving.store import OnlineStore, StoreTransaction
from serving.tables import DELETED, EVENTS, HELD, NOTES, POINTS, TOTALS

__all__ = ["Deleted", "Forgotten", "delete_key", "forget", "has_deletions"]

_RECORDS = 500
"""Records looked at in one transaction."""

_GROUPS, _PLACES = 20, 100
"""Streams and keys in one transaction, and places removed from each."""

_EVENTS = 100
"""Events removed in one transaction, each from all streams of its key."""

T = TypeVar("T")
Left = dict[bytes, list[bytes | None]]


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What is gone: events from before a time, and their places in streams. `longest_ms` is of one transaction."""

    before: str
    events: int
    places: int
    seconds: float
    longest_ms: float


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """How many events a key had."""

    events: int
    seconds: float


def forget(store: OnlineStore, before_us: int, progress: Callable[[int], None] = lambda _: None) -> Forgotten:
    """Forget what was before a time, in microseconds; not more than once was forgotten is brought back.

    Args:
        progress: told how many records and streams are done.

    Raises:
        SetupError: the store cannot be written to.
    """
    clock = _Clock(store)
    events = places = done = 0
    known = clock.do(lambda transaction: transaction.forgotten_us)
    before_us = max(before_us, before_us if known is None else known)
    clock.do(lambda transaction: transaction.forget(before_us))
    for table in (EVENTS, HELD):
        for ids in _batches(store.scan(table), _RECORDS):
            events += clock.do(partial(_forget_records, ids=ids, before_us=before_us))
            progress(done := done + len(ids))
    for table in (TOTALS, POINTS):
        for groups in _batches(store.scan(table), _GROUPS):
            left: Left = {group: [] for group in groups}
            while left:
                left, removed = clock.do(partial(_forget_places, left=left, before_us=before_us))
                places += removed
            progress(done := done + len(groups))
    return Forgotten(
        before=time_text(before_us),
        events=events,
        places=places,
        seconds=clock.seconds,
        longest_ms=round(1000 * clock.longest, 1),
    )


def delete_key(store: OnlineStore, column: str, value: int | str) -> Deleted:
    """Delete what the store has of one key.

    Raises:
        ConfigError: the store has no such key.
        SetupError: the store cannot be written to.
    """
    if column not in store.plan.keys:
        raise ConfigError(
            f"the store has nothing by {column}", where="--key", todo=f"keys: {', '.join(store.plan.keys)}"
        )
    clock, key, encoded = _Clock(store), store.plan.keys.index(column), encode_id(value)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    clock.do(lambda transaction: transaction.delete(key, encoded, now_us))
    events, removed = 0, _EVENTS
    while removed == _EVENTS:
        removed = clock.do(lambda transaction: transaction.remove(key, encoded, _EVENTS))
        events += removed
    return Deleted(events=events, seconds=clock.seconds)


def has_deletions(store: OnlineStore) -> bool:
    """Whether a key was deleted from the store."""
    return any(note.startswith(DELETED) for note in store.scan(NOTES))


class _Clock:
    """Transactions one after another, and how long they take."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._started = time.monotonic()
        self.longest = 0.0

    def do(self, act: Callable[[StoreTransaction], T]) -> T:
        started = time.monotonic()
        with self._store.begin(act) as transaction:
            result = act(transaction)
        self.longest = max(self.longest, time.monotonic() - started)
        return result

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)


def _forget_records(transaction: StoreTransaction, ids: Sequence[bytes], before_us: int) -> int:
    return transaction.forget_records(ids, before_us)


def _forget_places(transaction: StoreTransaction, left: Left, before_us: int) -> tuple[Left, int]:
    found = {
        group: transaction.forget_places(group, before_us, seen, _PLACES) for group, seen in left.items()
    }
    return {group: seen for group, (seen, _) in found.items() if seen}, sum(n for _, n in found.values())


def _batches(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
