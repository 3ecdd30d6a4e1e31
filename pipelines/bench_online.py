"""How long one read-compute-append of the online store takes: the published features of one event after another."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from mlops.bundle import Schema
from mlops.features import Calendar, Count, FeatureSet, Mean, Rate, Rolling, Value
from mlops.schema import Column, EventSchema, Label
from serving.entries import EntryEncoder
from serving.events import Event, EventReader
from serving.features import OnlineFeatures
from serving.plan import StorePlan
from serving.store import Rehearsal, StoreTransaction

__all__ = ["LOAD", "PUBLISHED", "SCHEMA", "Latency", "Load", "Opener", "TimedStore", "fill", "measure"]


class TimedStore(Protocol):
    """What is timed of an `OnlineStore`, so that one that is only timed need not have the rest."""

    @property
    def plan(self) -> StorePlan:
        """What it holds."""
        ...

    def begin(self, rehearsal: Rehearsal | None = None) -> AbstractContextManager[StoreTransaction]:
        """A transaction."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


Opener = Callable[[StorePlan, Schema], TimedStore]

SCHEMA = Schema(
    events=EventSchema(
        id="payment",
        time="at",
        columns=(
            Column(name="payment", type="id"),
            Column(name="at", type="timestamp"),
            Column(name="customer", type="id"),
            Column(name="terminal", type="id"),
            Column(name="amount", type="decimal", decimals=2),
            Column(name="fraud", type="boolean", nullable=True),
        ),
    ),
    label=Label(column="fraud", delay_days=7),
    whole_number_ids=("payment", "customer", "terminal"),
)
_WINDOWS = ("1d", "7d", "30d")
PUBLISHED = FeatureSet(
    (
        Value(column="amount"),
        Calendar(part="weekend"),
        Calendar(part="night"),
        Rolling(key="customer", agg=Count(), windows=_WINDOWS),
        Rolling(key="customer", agg=Mean(column="amount"), windows=_WINDOWS),
        Rolling(key="terminal", agg=Count(), windows=_WINDOWS, delay="7d"),
        Rolling(key="terminal", agg=Rate(column="fraud"), windows=_WINDOWS, delay="7d"),
    )
)
_START = datetime(2024, 1, 1, tzinfo=UTC)
_BATCH = 1_000
_ANSWER = b"a" * 700
"""As long as the answer that serving keeps for an event."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events come, and how often.

    `customers` and `terminals` are the keys; `before` events are in the store at first, over `days`; twice `measured`
    follow. One in a hundred of the first is a fraud.
    """

    customers: int = 67_000
    terminals: int = 33_000
    before: int = 300_000
    days: int = 60
    measured: int = 10_000

    def event(self, number: int, reader: EventReader) -> Event:
        """The event of this number, the same whoever asks."""
        drawn = random.Random(number)
        moment = _START + timedelta(days=self.days) * (number / self.before)
        return reader.event(
            {
                "payment": number,
                "at": moment.isoformat(),
                "customer": drawn.randrange(self.customers),
                "terminal": drawn.randrange(self.terminals),
                "amount": drawn.randrange(1, 20_000) / 100,
            }
        )


LOAD = Load()
"""Of 100,000 keys."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one transaction that appends an event and computes its features.

    Fields:
        answered_p99_ms: with the look-up of an answer and the saving of one, as serving does.
        checksum: of all features computed.
    """

    p50_ms: float
    p99_ms: float
    answered_p99_ms: float
    checksum: float


def fill(open_: Opener, load: Load, features: FeatureSet = PUBLISHED) -> float:
    """Append what is there at first; return the seconds that it took."""
    started = time.monotonic()
    with closing(open_(StorePlan.of(features, SCHEMA), SCHEMA)) as store:
        work = _Work(store, features)
        for start in range(0, load.before, _BATCH):
            work.append(load, range(start, min(start + _BATCH, load.before)))
    return time.monotonic() - started


def measure(
    open_: Opener,
    load: Load,
    features: FeatureSet = PUBLISHED,
    *,
    round_: int = 0,
    part: int = 0,
    parts: int = 1,
) -> Latency:
    """Append the events that follow, one at a time, and compute the features of each.

    Args:
        round_: how often others have measured before, and appended theirs.
        part, parts: every `parts`-th event only, beginning with this one, as several processes do together.
    """
    first = load.before + 2 * round_ * load.measured + part
    again = first + load.measured
    with closing(open_(StorePlan.of(features, SCHEMA), SCHEMA)) as store:
        work = _Work(store, features)
        plain = [work.once(load, n) for n in range(first, first + load.measured, parts)]
        answered = [work.once(load, n, _ANSWER) for n in range(again, again + load.measured, parts)]
    return Latency(
        p50_ms=_quantile(plain, 0.5),
        p99_ms=_quantile(plain, 0.99),
        answered_p99_ms=_quantile(answered, 0.99),
        checksum=work.checksum,
    )


class _Work:
    """What serving does with a store."""

    def __init__(self, store: TimedStore, features: FeatureSet) -> None:
        self._store = store
        self._reader = EventReader(SCHEMA)
        self._encode = EntryEncoder(store.plan)
        self._features = OnlineFeatures(features, SCHEMA, store.plan)
        self.checksum = 0.0

    def append(self, load: Load, numbers: range) -> None:
        entries = []
        for number in numbers:
            event = load.event(number, self._reader)
            entries.append(self._encode(event.id, event.time_us, event.values, float(number % 100 == 0)))
        with self._store.begin(lambda rehearsed: rehearsed.append(entries)) as transaction:
            transaction.append(entries)

    def once(self, load: Load, number: int, answer: bytes = b"") -> float:
        """Do it for one event; return the seconds that it took."""
        event = load.event(number, self._reader)
        started = time.perf_counter()
        entry = self._encode(event.id, event.time_us, event.values)

        def act(transaction: StoreTransaction) -> list[float]:
            if answer:
                transaction.answers([entry.id])
            transaction.append([entry])
            row = self._features.compute(transaction, event, entry)
            if answer:
                transaction.save_answers({entry.id: answer})
            return row

        with self._store.begin(act) as transaction:
            row = act(transaction)
        seconds = time.perf_counter() - started
        self.checksum += sum(row)
        return seconds


def _quantile(seconds: list[float], share: float) -> float:
    """In milliseconds."""
    return round(1000 * sorted(seconds)[int(share * len(seconds))], 4)
