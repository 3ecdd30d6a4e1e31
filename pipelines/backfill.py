"""Event tables → the online store, so that serving starts with the history that Spark has."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlops.bundle import Schema
from mlops.errors import InputError
from mlops.features import FeatureSet
from serving.codes import MAX_ID_BYTES, encode_id
from serving.entries import Entry, EntryEncoder
from serving.forgetting import has_deletions
from serving.plan import StorePlan
from serving.store import OnlineStore, StoreTransaction
from serving.stores import open_store

__all__ = ["BackfillResult", "backfill"]

_BATCH_ROWS = 1_000
"""Rows in one transaction: a server beside it waits no longer, and in Redis each row has locks. More are no faster."""


class BackfillResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. `new` events were not in the store before; `labels` counts those with and without event.

    `passed_over` events are older than what the store still knows, or of a key that was deleted from it.
    """

    rows: int
    new: int
    passed_over: int
    labels: int
    seconds: float


def backfill(
    events: Sequence[Path],
    store: str | Path,
    features: FeatureSet,
    schema: Schema,
    labels: Path | None = None,
) -> BackfillResult:
    """Count events and set labels in the online store. It is safe to run twice, and beside a server.

    Args:
        events: event tables; a label that is not null is taken as known.
        store: the store's URI (`serving.stores`); a folder is made if there is none.
        features: what the store must be able to compute; those of the bundle that is to be served.
        schema: the bundle's.
        labels: a labels table (id, label, known_at); wins over labels in the events.

    Raises:
        ConfigError: the store holds events but lacks totals that the features need.
        InputError: a table is missing, lacks a column, or has ids unlike the schema's.
        SetupError: the disk is full.
    """
    started = time.monotonic()
    rows = new = passed_over = labelled = 0
    with closing(open_store(store, StorePlan.of(features, schema), schema)) as target:
        encode = EntryEncoder(target.plan)
        deletions = has_deletions(target)
        for folder in events if target.plan.streams else ():  # else nothing is looked back on
            for batch in _batches(folder, _event_columns(target.plan, schema), schema):
                kept, added = _append(target, _entries(batch, encode, schema), deletions)
                rows, new = rows + batch.num_rows, new + added
                passed_over += batch.num_rows - kept
        if labels is not None:
            columns = [schema.events.id, schema.label.column, "known_at"]
            for batch in _batches(labels, columns, schema):
                ids, values = batch[columns[0]].to_pylist(), _labels(batch[columns[1]])
                known = zip(ids, values, _microseconds(batch["known_at"]), strict=True)
                _label(target, [(encode_id(i), value, at) for i, value, at in known if value is not None])
                labelled += batch.num_rows
    return BackfillResult(
        rows=rows,
        new=new,
        passed_over=passed_over,
        labels=labelled,
        seconds=time.monotonic() - started,
    )


def _append(store: OnlineStore, entries: list[Entry], deletions: bool) -> tuple[int, int]:
    """How many of these the store takes, and how many of those are new."""

    def act(transaction: StoreTransaction) -> tuple[int, int]:
        forgotten_us = transaction.forgotten_us
        taken = [
            entry
            for entry in entries
            if (forgotten_us is None or entry.time_us >= forgotten_us)
            and not (deletions and transaction.deleted_us(entry.keys) is not None)
        ]
        return len(taken), transaction.append(taken)

    with store.begin(act) as transaction:
        return act(transaction)


def _label(store: OnlineStore, labels: list[tuple[bytes, float, int]]) -> None:
    with store.begin(lambda rehearsed: rehearsed.label(labels)) as transaction:
        transaction.label(labels)


def _event_columns(plan: StorePlan, schema: Schema) -> list[str]:
    own = (schema.events.id, schema.events.time, schema.label.column)
    return list(dict.fromkeys(name for name in (*own, *plan.keys, *plan.columns) if name))


def _batches(folder: Path, columns: list[str], schema: Schema) -> Iterator[pa.Table]:
    if not folder.exists():
        raise InputError("no such table", where=folder)
    table = ds.dataset(folder, format="parquet")
    optional = {column.name for column in schema.events.columns if column.optional}
    if missing := set(columns) - set(table.schema.names) - optional:
        raise InputError(f"no column {', '.join(sorted(missing))}", where=folder)
    for batch in table.to_batches(
        columns=[c for c in columns if c in table.schema.names], batch_size=_BATCH_ROWS
    ):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])


def _entries(batch: pa.Table, encode: EntryEncoder, schema: Schema) -> list[Entry]:
    for column in schema.events.columns:
        if column.type == "id" and column.name in batch.column_names:
            _check_ids(batch[column.name], column.name, whole=column.name in schema.whole_number_ids)
    time_, label_ = schema.events.time, schema.label.column
    times = _microseconds(batch[time_]) if time_ else [0] * len(batch)
    known = _labels(batch[label_]) if label_ in batch.column_names else [None] * len(batch)
    names = [name for name in batch.column_names if name not in (time_, label_)]
    values = zip(*(batch[name].to_pylist() for name in names), strict=True)
    ids = batch[schema.events.id].to_pylist()
    return [
        encode(id_, moment, dict(zip(names, row, strict=True)), label)
        for id_, moment, label, row in zip(ids, times, known, values, strict=True)
    ]


def _microseconds(times: pa.ChunkedArray) -> list[int]:
    return list(pc.cast(times, pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist())


def _labels(values: pa.ChunkedArray) -> list[float | None]:
    known = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
    return list(known.to_pylist())


def _check_ids(ids: pa.ChunkedArray, name: str, *, whole: bool) -> None:
    if pa.types.is_integer(ids.type) != whole:
        raise InputError(
            f"ids are {ids.type}, but the model's were {'whole numbers' if whole else 'text'}", where=name
        )
    if not whole and (pc.max(pc.binary_length(ids)).as_py() or 0) > MAX_ID_BYTES - 3:
        raise InputError(f"an id is longer than {MAX_ID_BYTES - 3} bytes", where=name)
