"""The event table and the quarantine as validation writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from mlops.schema import EventSchema
from pipelines.content import content_metrics, fingerprint
from pipelines.sources import FILE

__all__ = ["DUPLICATE", "MOMENT", "REASON", "ROW", "as_json", "write_events", "write_quarantine"]

REASON, ROW, DUPLICATE = "_reason", "_row", "duplicate"
MOMENT = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"


def as_json(columns: Sequence[Column]) -> Column:
    """A row as JSON text: nulls said, times in ISO 8601."""
    return F.to_json(F.struct(*columns), {"ignoreNullFields": "false", "timestampFormat": MOMENT})


def write_events(rows: DataFrame, folder: Path, schema: EventSchema, numbers: Sequence[str]) -> str:
    """Write the good rows, sorted by time within and across files; return their fingerprint."""
    columns: list[Column] = [
        F.col(c.name).cast("bigint").alias(c.name) if c.name in numbers else F.col(c.name)
        for c in schema.columns
    ]
    good = rows.where(F.col(REASON).isNull()).select(*columns)
    seen = Observation()
    good = good.repartitionByRange(schema.time).sortWithinPartitions(schema.time, schema.id)
    good.observe(seen, *content_metrics(good.columns)).write.mode("append").parquet(str(folder))
    return fingerprint(seen.get)


def write_quarantine(rows: DataFrame, folder: Path, schema: EventSchema) -> None:
    """Write the bad rows: reason, row (JSON) and the source file's name."""
    bad = rows.where(F.col(REASON).isNotNull() & (F.col(REASON) != DUPLICATE))
    event = as_json([F.col(c.name) for c in schema.columns])
    bad.coalesce(1).select(
        F.col(REASON).alias("reason"), F.coalesce(ROW, event).alias("row"), F.col(FILE).alias("source")
    ).write.mode("append").parquet(str(folder))
