"""The care of the online store: what is in it, what it may forget, and what a person may want to be deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice

import msgspec

from mlops.aggregates import duration_us
from mlops.bundle import Bundle, open_bundle
from mlops.deployment import bundle_path, read_deployment
from mlops.errors import ConfigError, InputError
from mlops.settings import Settings, without_password
from mlops.signing import PUBLIC_KEY
from pipelines.options import refuse_future
from pipelines.progress import say
from pipelines.whose import key_value, whose
from serving.codes import encode_time
from serving.events import time_text
from serving.forgetting import Deleted, Forgotten, delete_key
from serving.forgetting import forget as forget_in
from serving.plan import StorePlan
from serving.store import OnlineStore, StoreTransaction
from serving.stores import open_store
from serving.tables import ANSWERS, EVENTS, HELD, TOTALS

__all__ = ["StoreStats", "delete", "forget", "stats"]

LATENESS = "7d"
"""How late events may be by default: those that come within it still find all that their windows need."""

_KEYS = 500
"""Keys looked at in one transaction."""

_FIRST, _LAST = encode_time(-(2**63)), encode_time(2**63 - 1)
Extent = tuple[int, int, int] | None


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds.

    Fields:
        totals: places in streams: one for each event, stream and key.
        megabytes: of its file, or of its server's memory.
        forgotten: the time before which it knows nothing any more.
        holds: its plan, in words.
    """

    store: str
    events: int
    answers: int
    held_labels: int
    totals: int
    keys: dict[str, int]
    megabytes: float
    first_event: str
    last_event: str
    forgotten: str
    holds: list[str]


def stats(settings: Settings) -> StoreStats:
    """Count what is in the home's store.

    Raises:
        ConfigError: nothing was promoted, or there is no store.
        SetupError: the store cannot be used.
    """
    with _opened(settings) as (store, _):
        extent = _extent(store)
        with store.begin() as transaction:
            forgotten_us = transaction.forgotten_us
        keys = dict.fromkeys(store.plan.keys, 0)
        for group in set(store.scan(TOTALS)):
            stream = store.plan.streams[group[0]]
            keys[stream.key] += stream.where is None and not stream.labelled
        return StoreStats(
            store=without_password(settings.store_uri),
            events=store.count(EVENTS),
            answers=store.count(ANSWERS),
            held_labels=store.count(HELD),
            totals=store.count(TOTALS),
            keys=keys,
            megabytes=round(store.size_bytes() / 1e6, 3),
            first_event=time_text(extent[0]) if extent else "",
            last_event=time_text(extent[1]) if extent else "",
            forgotten="" if forgotten_us is None else f"before {time_text(forgotten_us)}",
            holds=[name for stream in store.plan.streams for name in stream.names()],
        )


def forget(settings: Settings, before: date | None = None, *, lateness: str = LATENESS) -> Forgotten:
    """Forget what no window can need any more; a server may go on beside it.

    Args:
        before: events before this day (UTC) are forgotten; by default what is older than the newest events by the
            longest window of the champion and of the one before, its delay, and `lateness`. Newest is what one key
            in a hundred has come to, so that one event with a wrong clock does not empty the store.

    Raises:
        ConfigError: nothing was promoted, there is no store, or `before` is after today.
        InputError: windows of present events need what is to be forgotten.
        SetupError: the store cannot be used.
    """
    if before is not None:
        refuse_future(before, "--before")
    with _opened(settings) as (store, bundles):
        horizon_us = max(bundle.features.horizon_us for bundle in bundles)
        extent = _extent(store)
        if extent is None:
            raise InputError("holds no event of a key", where=without_password(settings.store_uri))
        needed_us = extent[2] - horizon_us
        before_us = needed_us - duration_us(lateness)
        if before is not None:
            midnight = datetime(before.year, before.month, before.day, tzinfo=UTC)
            before_us = int(midnight.timestamp()) * 1_000_000
        if before_us > needed_us:
            raise InputError(
                f"the newest events, of {time_text(extent[2])}, have windows that reach back to {time_text(needed_us)}",
                where=f"--before {before}",
                todo="name an earlier day",
            )
        return forget_in(store, before_us, lambda done: say(f"{done:,} records and streams"))


def delete(settings: Settings, key: str) -> Deleted:
    """Delete what the store has of one key, such as `customer_id=42`.

    Raises:
        ConfigError: nothing was promoted, there is no store, or it has nothing by such a key.
        SetupError: the store cannot be used.
    """
    column, text = whose(key)
    with _opened(settings) as (store, bundles):
        value = key_value(column, text, bundles[0].schema) if column in store.plan.keys else text
        return delete_key(store, column, value)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[OnlineStore, list[Bundle]]]:
    """The home's store, and the bundles that it serves: the champion, and the one before, which may come back."""
    deployment = read_deployment(settings.pointer)
    if deployment is None:
        raise ConfigError(
            "no champion, so no store", where=settings.pointer, todo="promote one: mlops promote"
        )
    public_key = settings.keys / PUBLIC_KEY
    deployed = [deployment.champion, *([deployment.previous] if deployment.previous else [])]
    bundles = [open_bundle(bundle_path(settings.pointer, each), public_key=public_key) for each in deployed]
    if not settings.store and not (settings.home / "store").exists():
        raise ConfigError("no store", where=settings.home / "store", todo="fill it: mlops promote")
    schema = bundles[0].schema
    store = open_store(settings.store_uri, StorePlan.of(bundles[0].features, schema), schema)
    try:
        yield store, bundles
    finally:
        store.close()


def _extent(store: OnlineStore) -> Extent:
    """The times of the first and the last event, and what one key in a hundred has come to, of the first key column."""
    extents: list[tuple[int, int]] = []
    keys = (group[1:] for group in store.scan(TOTALS) if group[0] == 0)
    while batch := list(islice(keys, _KEYS)):
        act = partial(_look, keys=batch)
        with store.begin(act) as transaction:
            extents += act(transaction)
    if not extents:
        return None
    lasts = sorted(last for _, last in extents)
    return min(first for first, _ in extents), lasts[-1], lasts[len(lasts) - 1 - len(lasts) // 100]


def _look(transaction: StoreTransaction, keys: Sequence[bytes]) -> list[tuple[int, int]]:
    forgotten_us = transaction.forgotten_us
    low = (
        _FIRST if forgotten_us is None else encode_time(forgotten_us)
    )  # before it, totals to subtract may stay
    firsts = [transaction.first(0, key, low, _LAST) for key in keys]
    lasts = [transaction.last(0, key, low, _LAST, 1) for key in keys]
    return [
        (first, last[0][0]) for first, last in zip(firsts, lasts, strict=True) if first is not None and last
    ]
