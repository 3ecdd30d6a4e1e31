"""Validation: rows that fit the schema become the event table, the others go to quarantine with the reason.

Every row that comes in is accounted for: in = good + quarantined + duplicates. A duplicate is a row that says the
same as another; of rows with one id that say different things the first by (event time, content) is good.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path

import msgspec
from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from mlops.errors import InputError
from mlops.schema import EventSchema, Label
from mlops.storage import publish_dir
from mlops.tables import EventTable, write_table_meta
from pipelines.event_table import DUPLICATE, MOMENT, REASON, ROW, as_json, write_events, write_quarantine
from pipelines.parse import UNREADABLE, Parsed, parse
from pipelines.sources import FILE, WRONG_FIELDS, Files, event_files
from pipelines.spark import readable_errors

__all__ = ["ValidateResult", "validate"]

_TYPES = {
    "id": "string",
    "timestamp": "timestamp",
    "decimal": "double",
    "float": "double",
    "integer": "bigint",
    "text": "string",
    "boolean": "boolean",
}


class ValidateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows; `reasons` counts the quarantined ones, `layout` is that of the files."""

    rows_in: int
    good: int
    quarantined: int
    duplicates: int
    reasons: dict[str, int]
    layout: str
    seconds: float


def validate(
    spark: SparkSession, source: Path, target: Path, quarantine: Path, schema: EventSchema, label: Label
) -> ValidateResult:
    """Read event files, write the event table and the quarantine, and replace what these held.

    Args:
        source: a Parquet or CSV file, or a folder of them.
        target: the event table.
        quarantine: Parquet with the columns reason, row (JSON) and source (the file's name).

    Raises:
        InputError: the source as a whole is not events: no file, no row, another format, a column missing or of a
            wrong type, not one good row.
        SetupError: the device is full.
    """
    started = time.monotonic()
    groups = event_files(source, schema, label)
    rows = reduce(DataFrame.unionByName, (_checked(spark, files, schema) for files in groups))
    with readable_errors():
        # Three jobs read the rows. As a checkpoint they are kept as they are; a cache would first turn them to columns.
        rows = _without_repeats(rows, schema).localCheckpoint()
        counts = _counts(rows, schema)
        good = counts.pop(None, None)
        duplicates = counts.pop(DUPLICATE, None)
        reasons = {reason or "": row["rows"] for reason, row in counts.items()}
        _refuse_unreadable_columns(spark, source, groups, schema, reasons)
        if good is None:
            most = max(reasons, key=reasons.__getitem__, default="")
            what = f"not one good row; most often {most} ({reasons[most]} rows)" if reasons else "no rows"
            raise InputError(what, where=source)
        numbers = tuple(c.name for c in schema.columns if c.type == "id" and good[c.name])
        with publish_dir(target) as events, publish_dir(quarantine) as bad:
            write_quarantine(rows, bad, schema)
            digest = write_events(rows, events, schema, numbers)
            table = EventTable(
                rows=good["rows"],
                whole_number_ids=numbers,
                first_event=good["first"],
                last_event=good["last"],
                fingerprint=digest,
            )
            write_table_meta(events, table)
    repeated = duplicates["rows"] if duplicates else 0
    return ValidateResult(
        rows_in=table.rows + sum(reasons.values()) + repeated,
        good=table.rows,
        quarantined=sum(reasons.values()),
        duplicates=repeated,
        reasons=dict(sorted(reasons.items())),
        layout=" and ".join(dict.fromkeys(files.layout for files in groups)),
        seconds=round(time.monotonic() - started, 3),
    )


def _parsed(files: Files, frame: DataFrame, schema: EventSchema) -> dict[str, Parsed]:
    return {
        column.name: parse(column, F.col(column.name), frame.schema[column.name].dataType, csv=files.is_csv)
        for column in schema.columns
        if column.name in files.columns
    }


def _checked(spark: SparkSession, files: Files, schema: EventSchema) -> DataFrame:
    """The schema's columns, null where a value does not fit, and the first reason why the row is not good."""
    frame = files.rows(spark)
    parsed = _parsed(files, frame, schema)
    reason = F.coalesce(
        F.when(F.col(WRONG_FIELDS).isNotNull(), "row: more or fewer fields than the header"),
        *(F.concat(F.lit(f"{name}: "), column.problem) for name, column in parsed.items()),
    )
    line = as_json([F.col(WRONG_FIELDS).alias("line")])
    fields = as_json([F.col(ours).alias(field.name) for ours, field in files.columns.items()])
    row = F.when(F.col(WRONG_FIELDS).isNotNull(), line).otherwise(fields)
    values = [
        (parsed[c.name].value if c.name in parsed else F.lit(None)).cast(_TYPES[c.type]).alias(c.name)
        for c in schema.columns
    ]
    return frame.select(*values, FILE, reason.alias(REASON), F.when(reason.isNotNull(), row).alias(ROW))


def _without_repeats(rows: DataFrame, schema: EventSchema) -> DataFrame:
    """Mark, among good rows with one id, all but the first: as duplicates of the row before, or as bad."""
    content = [schema.time, *(c.name for c in schema.columns if c.name != schema.time)]
    # A row with a label comes before the same row without one.
    order = [F.col(name).asc_nulls_last() for name in (*content, FILE)]
    same_id = Window.partitionBy(schema.id, REASON).orderBy(*order)
    before = F.lag(F.struct(*content)).over(same_id)
    verdict = (
        F.when(F.col(REASON).isNotNull(), F.col(REASON))
        .when(before.isNull(), F.lit(None))
        .when(before == F.struct(*content), DUPLICATE)
        .otherwise(f"{schema.id}: used before for another event")
    )
    return rows.withColumn("_verdict", verdict).drop(REASON).withColumnRenamed("_verdict", REASON)


def _counts(rows: DataFrame, schema: EventSchema) -> dict[str | None, Row]:
    """By reason: how many rows, their first and last event, and whether all ids of a column are whole numbers."""
    moment = F.col(schema.time)
    ids = [
        F.bool_and(F.col(c.name).try_cast("bigint").cast("string").eqNullSafe(F.col(c.name))).alias(c.name)
        for c in schema.columns
        if c.type == "id"
    ]
    grouped = rows.groupBy(REASON).agg(
        F.count(F.lit(1)).alias("rows"),
        F.date_format(F.min(moment), MOMENT).alias("first"),
        F.date_format(F.max(moment), MOMENT).alias("last"),
        *ids,
    )
    return {row[REASON]: row for row in grouped.collect()}


def _refuse_unreadable_columns(
    spark: SparkSession, source: Path, groups: Sequence[Files], schema: EventSchema, reasons: Iterable[str]
) -> None:
    """Raise for a column in which no value can be read: that is another column, not bad rows."""
    suspects = [c.name for c in schema.columns if f"{c.name}: {UNREADABLE[c.type]}" in reasons]
    for files in groups:
        names = [name for name in suspects if name in files.columns]
        if not names:
            continue
        frame = files.rows(spark)
        parsed = _parsed(files, frame, schema)
        seen = frame.agg(
            *(F.count(parsed[name].value).alias(name) for name in names),
            *(F.first(F.col(name).cast("string"), ignorenulls=True).alias(f"{name}?") for name in names),
        ).first()
        for name in names:
            if seen is not None and seen[name] == 0 and seen[f"{name}?"] is not None:
                raise InputError(
                    f"column {files.columns[name].name}: every value is {UNREADABLE[schema.column(name).type]}, "
                    f"such as {seen[f'{name}?']!r}",
                    where=files.paths[0] if len(files.paths) == 1 else source,
                )
