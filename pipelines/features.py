"""Features of every event, from the declarative definitions, with Spark.

Each key column takes one exchange: then a task holds all events of some keys, and `pipelines.kernel` computes every
aggregate of theirs. A last exchange brings the events of a day together, and a task writes its days. There are as many
tasks as it takes for each to fit into a worker's memory, except that the events of one key are never divided.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from mlops.features import FeatureSet
from mlops.schema import EventSchema, Label
from mlops.storage import publish_dir
from mlops.tables import EventTable, FeatureTable, read_event_table, total_fingerprint, write_table_meta
from pipelines.event_table import stored_types
from pipelines.exchange import PACKED, exchange, pack, unpack
from pipelines.feature_table import Written, column_types, day_numbers, parts_of, write_day
from pipelines.hashing import column_hashes
from pipelines.history import (
    TASK_ROWS,
    arrow_schema,
    dealt_out,
    event_files,
    read_rows,
    table_files,
    with_labels,
)
from pipelines.kernel import aggregate, features_of, row_features
from pipelines.spark import readable_errors
from pipelines.windows import Ints

__all__ = ["FeaturesResult", "compute_features"]

_WRITTEN = "day string, rows bigint, unlabelled bigint, fingerprint string"


class FeaturesResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was written; `unlabelled` of these rows had no known label."""

    rows: int
    unlabelled: int
    seconds: float


def compute_features(
    spark: SparkSession,
    events: Sequence[Path],
    target: Path,
    features: FeatureSet,
    schema: EventSchema,
    label: Label,
    *,
    labels: Path | None = None,
    since: datetime | None = None,
) -> FeaturesResult:
    """Write the feature table of the events in one or more event tables that have no event in common.

    Args:
        target: the feature table; what it held is replaced.
        labels: a labels table, which wins over the labels in the events.
        since: write only events from then on (UTC if naive); earlier ones are history.

    Raises:
        InputError: one of `events` is not an event table, or does not fit the schema.
        SetupError: the device is full.
    """
    started = time.monotonic()
    tables = [read_event_table(path) for path in events]
    numbers = set.intersection(*(set(table.whole_number_ids) for table in tables))
    types = stored_types(schema, numbers)
    moment = None if since is None else since.replace(tzinfo=since.tzinfo or UTC)
    first = None if moment is None else moment - timedelta(microseconds=features.horizon_us)
    partitions = _partitions(tables, spark.sparkContext.defaultParallelism)
    whole = len(tables) == 1 and labels is None and since is None
    files = [
        file
        for path, table in zip(events, tables, strict=True)
        for file in event_files(path, table.days, types, schema, first)
    ]
    with publish_dir(target) as folder, readable_errors():
        work = _Work(
            features=features,
            schema=schema,
            label=label,
            types=types,
            events=dealt_out(files, partitions),
            labels=[] if labels is None else dealt_out(table_files(labels), partitions),
            first=first,
            since=moment,
            folder=folder,
            partitions=partitions,
            shares=_shares(tables),
        )
        written = work.run(spark)
        if not written:  # a table has columns, even without rows
            empty = features_of(arrow_schema(types).empty_table(), features, schema)
            pq.write_table(empty, folder / "part-none.parquet")
        days = parts_of(written)
        table = FeatureTable(
            rows=sum(part.rows for part in days.values()),
            unlabelled=sum(file.unlabelled for file in written),
            features=features,
            events=tuple(table.fingerprint for table in tables),
            whole_number_ids=tuple(c.name for c in schema.columns if c.name in numbers),
            fingerprint=total_fingerprint(days),
            days=days,
            sources={day: part.fingerprint for day, part in tables[0].days.items()} if whole else {},
            columns=column_types(schema),
        )
        write_table_meta(folder, table)
    return FeaturesResult(
        rows=table.rows, unlabelled=table.unlabelled, seconds=round(time.monotonic() - started, 3)
    )


def _partitions(tables: Sequence[EventTable], cores: int) -> int:
    """As many tasks an exchange as keep all cores busy and each task small."""
    return cores * max(1, -(-sum(table.rows for table in tables) // (TASK_ROWS * cores)))


def _shares(tables: Sequence[EventTable]) -> int:
    """Into how many files a day is divided: one, unless its events are more than a task should hold."""
    largest = max((part.rows for table in tables for part in table.days.values()), default=0)
    return max(1, -(-largest // TASK_ROWS))


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """What Spark's workers do, task by task.

    Fields:
        types: the events' columns, with Spark's names of their types.
        events, labels: the files that each task reads.
        first: the events before are not needed, not even as history.
        since: the events before are not written.
        shares: into how many files a day is divided.
    """

    features: FeatureSet
    schema: EventSchema
    label: Label
    types: dict[str, str]
    events: list[tuple[str, ...]]
    labels: list[tuple[str, ...]]
    first: datetime | None
    since: datetime | None
    folder: Path
    partitions: int
    shares: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns, in the order of the exchanges."""
        return tuple(self.features.by_key)

    def run(self, spark: SparkSession) -> list[Written]:
        """Compute and write the features of all events."""
        tasks = len(self.events) + len(self.labels)
        packed = exchange(spark.range(0, tasks, 1, tasks).mapInArrow(self.read, PACKED), self.partitions)
        if self.labels:
            packed = exchange(packed.mapInArrow(self.join, PACKED), self.partitions)
        for key in self.keys:
            packed = exchange(packed.mapInArrow(partial(self.aggregate, key), PACKED), self.partitions)
        return [Written(*row) for row in packed.mapInArrow(self.write, _WRITTEN).collect()]

    def read(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pack the rows of the files of some tasks; labels with the events that have their ids, if there are any."""
        types = arrow_schema(self.types)
        ids = self.schema.id
        for task in (task for batch in batches for task in batch.column(0).to_pylist()):
            if task >= len(self.events):
                known = pa.schema([types.field(ids), types.field(self.label.column)])
                for table in read_rows(self.labels[task - len(self.events)], known):
                    yield from pack(table, _dealt(table[ids], self.partitions) + self.partitions)
                continue
            for table in read_rows(self.events[task], types):
                if self.first is not None:
                    table = table.filter(pc.greater(table[self.schema.time], pa.scalar(self.first)))
                if self.labels:
                    yield from pack(table, _dealt(table[ids], self.partitions))
                else:
                    yield from self.send(table, self.keys)

    def join(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Give events the labels that are known of them."""
        tables = unpack(batches)
        for bucket, table in tables.items():
            if bucket < self.partitions:
                labels = tables.get(bucket + self.partitions)
                if labels is not None:
                    table = with_labels(table, labels, self.schema.id, self.label.column)
                yield from self.send(table, self.keys)

    def aggregate(self, key: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Add all aggregates by a key to all events of some of its values."""
        aggregates = self.features.by_key[key]
        left = self.keys[self.keys.index(key) + 1 :]
        for table in unpack(batches).values():
            yield from self.send(aggregate(table, key, aggregates, self.schema), left)

    def send(self, table: pa.Table, keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Pack events for the next exchange: by the first of the keys that are left, or at last by day."""
        if keys:
            return pack(table, _dealt(table[keys[0]], self.partitions))
        if self.since is not None:
            table = table.filter(pc.greater_equal(table[self.schema.time], pa.scalar(self.since)))
        table = row_features(table, self.features, self.schema)
        shares = self.shares if self.schema.time else self.partitions
        days = day_numbers(table, self.schema)
        return pack(table, (days * shares + _dealt(table[self.schema.id], shares)) % self.partitions)

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the files of some days; return what was written."""
        for table in unpack(batches).values():
            days = day_numbers(table, self.schema)
            for day in np.unique(days):
                written = write_day(self.folder, table.filter(pa.array(days == day)), self.schema, self.label)
                yield pa.RecordBatch.from_pylist([msgspec.structs.asdict(written)])


def _dealt(column: pa.ChunkedArray, hands: int) -> Ints:
    """A number below `hands` for each value [n], equal where values are."""
    return (column_hashes(column) % np.uint64(hands)).astype(np.int64)
