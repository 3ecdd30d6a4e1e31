"""Both executors over one history: the events arrive online in an order that offline never sees.

Events come late and twice, labels later still, some before their event and some to be corrected. Once all has
arrived, every feature of every event must be the same, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlops.bundle import Schema
from mlops.features import FeatureSet
from pipelines.kernel import features_of
from serving.codes import encode_id
from serving.entries import EntryEncoder
from serving.events import Event, EventReader
from serving.features import OnlineFeatures
from serving.store import OnlineStore, StoreTransaction

__all__ = ["Agreement", "as_sent", "replay_both"]

_BATCH = 500
_DAY_US = 86_400_000_000
_LATE_SHARE, _TWICE_SHARE, _CORRECTED_SHARE = 0.05, 0.02, 0.01

_Sent = tuple[float, int, tuple[int | float, int] | None]
"""When something is sent, about which event, and the label and when it was known, unless it is the event itself."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared. `differing` features are those with any difference, `late` events came after later ones."""

    events: int
    values: int
    late: int
    repeated: int
    labels: int
    differing: tuple[str, ...]
    max_abs_diff: float


def replay_both(
    history: pa.Table, features: FeatureSet, schema: Schema, store: OnlineStore, *, seed: int = 0
) -> Agreement:
    """Compute the features of a history online and offline, and compare them bit by bit.

    Args:
        history: events in canonical columns with the labels that hold in the end; ids as `schema` says.
        store: an empty one whose plan serves the features.
    """
    rng = np.random.default_rng(seed)
    rows = history.to_pylist()
    reader, encode = EventReader(schema), EntryEncoder(store.plan)
    events = [reader.event(as_sent(row, schema)) for row in rows]
    arrivals = _arrivals(np.array([event.time_us for event in events]), rng)
    repeats = rng.choice(len(rows), int(_TWICE_SHARE * len(rows)), replace=False)
    labels = _labels(rows, events, schema, rng)
    # What there is to send, by when it is sent; a repeat and a label may be sent before the event.
    sent: list[_Sent] = [(moment, n, None) for n, moment in enumerate(arrivals)]
    sent += [(arrivals[n] + rng.exponential(_DAY_US), n, None) for n in repeats.tolist()]
    sent += [(moment, n, label) for moment, n, label in labels]
    sent.sort(key=lambda one: one[0])
    for start in range(0, len(sent), _BATCH):
        _send(sent[start : start + _BATCH], events, encode, store)
    online = _online(events, features, schema, store, encode)
    offline = features_of(history, features, schema.events)
    return _compared(
        online,
        [offline[name].cast(pa.float64()).to_numpy() for name in features.names],
        features.names,
        late=int((np.diff(np.array([events[n].time_us for _, n, label in sent if label is None])) < 0).sum()),
        repeated=len(repeats),
        labels=len(labels),
    )


def as_sent(row: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """The event as a client sends it: without the label and its details, times as text."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in schema.label.columns
    }


def _arrivals(times: NDArray[np.int64], rng: np.random.Generator) -> list[float]:
    """When each event arrives: most at once, some hours or days late."""
    late = (rng.random(len(times)) < _LATE_SHARE) * rng.exponential(_DAY_US, len(times))
    return (times + late).tolist()


def _labels(
    rows: Sequence[dict[str, Any]], events: Sequence[Event], schema: Schema, rng: np.random.Generator
) -> list[_Sent]:
    """(when it arrives, of which event, (label, when it was known)); a few are wrong at first and corrected."""
    found: list[_Sent] = []
    for n, (row, event) in enumerate(zip(rows, events, strict=True)):
        truth = row[schema.label.column]
        if truth is None:
            continue
        known = event.time_us + rng.exponential(3 * _DAY_US) - 0.1 * _DAY_US
        if rng.random() < _CORRECTED_SHARE:
            found.append((known, n, (int(not truth), int(known))))
            known += rng.exponential(_DAY_US)
        found.append((known, n, (int(truth), int(known))))
    return found


def _send(
    sent: Sequence[_Sent],
    events: Sequence[Event],
    encode: EntryEncoder,
    store: OnlineStore,
) -> None:
    entries = [
        encode(e.id, e.time_us, e.values) for _, n, label in sent if label is None for e in (events[n],)
    ]
    labels = [(encode_id(events[n].id), *label) for _, n, label in sent if label is not None]

    def act(transaction: StoreTransaction) -> None:
        transaction.append(entries)
        transaction.label(labels)

    with store.begin(act) as transaction:
        act(transaction)


def _online(
    events: Sequence[Event], features: FeatureSet, schema: Schema, store: OnlineStore, encode: EntryEncoder
) -> NDArray[np.float64]:
    executor = OnlineFeatures(features, schema, store.plan)
    values = np.empty((len(events), len(features.names)))
    for start in range(0, len(events), _BATCH):
        some = [(e, encode(e.id, e.time_us, e.values)) for e in events[start : start + _BATCH]]

        def act(transaction: StoreTransaction, some: Any = some) -> list[list[float]]:
            return [executor.compute(transaction, event, entry) for event, entry in some]

        with store.begin(act) as transaction:
            values[start : start + len(some)] = act(transaction)
    return values


def _compared(
    online: NDArray[np.float64],
    offline: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    *,
    late: int,
    repeated: int,
    labels: int,
) -> Agreement:
    differences = [np.abs(online[:, n] - column) for n, column in enumerate(offline)]
    bits = [
        online[:, n].copy().view(np.int64) != column.copy().view(np.int64) for n, column in enumerate(offline)
    ]
    return Agreement(
        events=len(online),
        values=online.size,
        late=late,
        repeated=repeated,
        labels=labels,
        differing=tuple(name for name, differs in zip(names, bits, strict=True) if differs.any()),
        max_abs_diff=float(max((d.max() for d in differences), default=0.0)),
    )
