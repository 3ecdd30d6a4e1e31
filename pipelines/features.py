"""Features of every event, from the declarative definitions, with Spark.

Rolling aggregates take one shuffle a key column: a partition holds all events of its keys, and `pipelines.kernel`
computes every aggregate of the key in one pass over it. A partition must fit into a worker's memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from pathlib import Path

import msgspec
import pyarrow as pa
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField, StructType

from mlops.features import Aggregate, FeatureSet
from mlops.schema import EventSchema, Label
from mlops.storage import publish_dir
from mlops.tables import FeatureTable, read_event_table, write_table_meta
from pipelines.content import content_metrics, fingerprint
from pipelines.kernel import aggregate, row_features
from pipelines.spark import read_parquet, readable_errors

__all__ = ["FeaturesResult", "compute_features"]

_BATCH_ROWS = 65_536


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
        InputError: one of `events` is not an event table.
        SetupError: the device is full.
    """
    started = time.monotonic()
    tables = [read_event_table(path) for path in events]
    numbers = set.intersection(*(set(table.whole_number_ids) for table in tables))
    frame = reduce(DataFrame.unionByName, (_read(spark, path, schema, numbers) for path in events))
    moment = None if since is None else since.replace(tzinfo=since.tzinfo or UTC)
    if moment is not None:
        frame = frame.where(F.col(schema.time) > moment - timedelta(microseconds=features.horizon_us))
    if labels is not None:
        frame = _with_labels(frame, spark, labels, schema, label)
    for key in dict.fromkeys(a.key for a in features.aggregates):
        aggregates = tuple(a for a in features.aggregates if a.key == key)
        frame = _with_aggregates(frame, key, aggregates, schema)
    if moment is not None:
        frame = frame.where(F.col(schema.time) >= moment)
    frame = _with_the_rest(frame, features, schema)

    seen = Observation()
    frame = frame.observe(
        seen,
        *content_metrics(frame.columns),
        F.count_if(F.col(label.column).isNull()).alias("unlabelled"),
    )
    with publish_dir(target) as folder, readable_errors():
        frame.write.mode("append").parquet(str(folder))
        table = FeatureTable(
            rows=seen.get["rows"],
            unlabelled=seen.get["unlabelled"],
            features=features,
            events=tuple(table.fingerprint for table in tables),
            whole_number_ids=tuple(c.name for c in schema.columns if c.name in numbers),
            fingerprint=fingerprint(seen.get),
        )
        write_table_meta(folder, table)
    return FeaturesResult(
        rows=table.rows, unlabelled=table.unlabelled, seconds=round(time.monotonic() - started, 3)
    )


def _read(spark: SparkSession, folder: Path, schema: EventSchema, numbers: set[str]) -> DataFrame:
    """An event table; an id column that is text in another table of the run is text in all."""
    columns = [
        F.col(c.name).cast("string").alias(c.name)
        if c.type == "id" and c.name not in numbers
        else F.col(c.name)
        for c in schema.columns
    ]
    return read_parquet(spark, folder).select(*columns)


def _with_labels(
    frame: DataFrame, spark: SparkSession, labels: Path, schema: EventSchema, label: Label
) -> DataFrame:
    type_ = frame.schema[schema.id].dataType
    known = read_parquet(spark, labels).select(
        F.col(schema.id).try_cast(type_).alias(schema.id), F.col(label.column).alias("_known")
    )
    joined = frame.join(known, schema.id, "left")
    return joined.select(
        *(
            F.coalesce("_known", name).alias(name) if name == label.column else F.col(name)
            for name in frame.columns
        )
    )


def _with_aggregates(
    frame: DataFrame, key: str, aggregates: Sequence[Aggregate], schema: EventSchema
) -> DataFrame:
    added = [StructField(a.name, DoubleType()) for a in aggregates]
    add = partial(_add_aggregates, key=key, aggregates=aggregates, schema=schema)
    return frame.repartition(key).mapInArrow(add, StructType([*frame.schema.fields, *added]))


def _add_aggregates(
    batches: Iterable[pa.RecordBatch], *, key: str, aggregates: Sequence[Aggregate], schema: EventSchema
) -> Iterator[pa.RecordBatch]:
    """A partition's events in order of (event time, id), with the aggregates; runs in a Spark worker."""
    arrived = list(batches)
    if arrived:
        table = aggregate(pa.Table.from_batches(arrived), key, aggregates, schema)
        yield from table.combine_chunks().to_batches(max_chunksize=_BATCH_ROWS)


def _with_the_rest(frame: DataFrame, features: FeatureSet, schema: EventSchema) -> DataFrame:
    """The features that take no window, and all columns in their order: the event's, then the features'."""
    own = [column.name for column in schema.columns]
    names = [name for name in features.names if name not in own]

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            table = row_features(pa.Table.from_batches([batch]), features, schema)
            yield from table.select([*own, *names]).to_batches()

    fields = [frame.schema[name] for name in own] + [StructField(name, DoubleType()) for name in names]
    return frame.mapInArrow(add, StructType(fields))
