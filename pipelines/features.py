"""Features of every event, from the declarative definitions, with Spark.

Rolling aggregates take one shuffle a key column: a partition holds all events of its keys, and `pipelines.windows`
computes every aggregate of the key in one pass over it. A partition must fit into a worker's memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField, StructType

from mlops.features import Aggregate, Calendar, FeatureSet, Ratio
from mlops.schema import EventSchema, Label
from mlops.storage import publish_dir
from mlops.tables import FeatureTable, read_event_table, write_table_meta
from pipelines.content import content_metrics, fingerprint
from pipelines.spark import read_parquet, readable_errors
from pipelines.windows import Total, key_codes, rolling_aggregates, total_of

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
    if not arrived:
        return
    table = pa.Table.from_batches(arrived).sort_by([(schema.time, "ascending"), (schema.id, "ascending")])
    totals = {total for a in aggregates if (total := total_of(a.agg)) is not None}
    columns = rolling_aggregates(
        aggregates,
        key_codes(table[key]),
        table[schema.time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(),
        {total: _whole_numbers(table[total.column], total, schema) for total in totals},
        {total.column: schema.column(total.column).decimals for total in totals},
    )
    for name, column in columns.items():
        table = table.append_column(name, pa.array(column))
    yield from table.combine_chunks().to_batches(max_chunksize=_BATCH_ROWS)


def _whole_numbers(column: pa.ChunkedArray, total: Total, schema: EventSchema) -> NDArray[np.int64]:
    """The exact whole numbers that are summed; a missing value adds nothing."""
    values = pc.fill_null(
        column.cast(pa.float64()) if pa.types.is_floating(column.type) else column.cast(pa.int64()), 0
    )
    numbers = values.to_numpy()
    if total.ones:
        return (numbers == 1).astype(np.int64)
    return np.rint(numbers * 10 ** schema.column(total.column).decimals).astype(np.int64)


def _with_the_rest(frame: DataFrame, features: FeatureSet, schema: EventSchema) -> DataFrame:
    """Calendar flags and ratios, and all columns in their order: the event's, then the features'."""
    moment = F.col(schema.time)
    parts: dict[str, Callable[[], Column]] = {
        "weekend": lambda: F.weekday(moment) >= 5,
        "night": lambda: F.hour(moment) <= 6,
    }
    for feature in features.features:
        if isinstance(feature, Calendar):
            frame = frame.withColumn(feature.names[0], parts[feature.part]().cast("double"))
        elif isinstance(feature, Ratio):
            below = F.col(feature.denominator).cast("double")
            above = F.col(feature.numerator).cast("double")
            ratio = F.when(below == 0, F.lit(feature.fallback)).otherwise(above / below)
            frame = frame.withColumn(feature.name, ratio)
    own = [column.name for column in schema.columns]
    return frame.select(*own, *(name for name in features.names if name not in own))
