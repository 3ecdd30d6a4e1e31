"""The checks of each row: does it fit the schema, and was its id used before?

Every row that comes in leaves with the schema's columns and either no reason, or the reason why it is not good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path

import msgspec
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mlops.schema import EventSchema, Label
from pipelines.event_table import REASON, ROW, SPARK_TYPES, as_json
from pipelines.held import Held, earlier_events
from pipelines.parse import UNREADABLE, Parsed, parse
from pipelines.repeats import mark_repeats
from pipelines.sources import FILE, WRONG_FIELDS, Files

__all__ = ["Checked", "UnreadableColumn", "check_rows", "unreadable_columns"]

_WRONG_FIELDS = "row: more or fewer fields than the header"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with a verdict each, kept by Spark so that they can be read again.

    Fields:
        rows: the schema's columns, `FILE`, `REASON` (null for a good row, `DUPLICATE` for one that says the same as
            another, `LABEL` for one that brings the label of an event in the table) and `ROW`, what a bad row said,
            as JSON.
        rows_in: how many the files held, counted as they were read.
        absent: columns that no file has.
    """

    rows: DataFrame
    rows_in: int
    absent: tuple[str, ...]


class UnreadableColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column in which no value of some files can be read, with one of the values; `where` is a file, if it is one."""

    column: str
    problem: str
    example: str
    where: Path | None


def check_rows(
    spark: SparkSession, groups: Sequence[Files], schema: EventSchema, label: Label, held: Held | None = None
) -> Checked:
    """Read all rows once, and say of each what is wrong with it, and whether the table `held` has its event."""
    numbers = {c.name for c in schema.columns if c.type == "id" and _whole_in_all(groups, c.name)}
    counts = [Observation() for _ in groups]
    parts = [
        _checked(spark, files, schema, numbers, count) for files, count in zip(groups, counts, strict=True)
    ]
    # Several jobs read the rows. As a checkpoint they are kept as they are; a cache would first turn them to columns.
    rows = reduce(DataFrame.unionByName, parts).localCheckpoint()
    earlier = earlier_events(spark, held, rows, schema, label) if held is not None else None
    return Checked(
        rows=mark_repeats(rows, schema, label, earlier),
        rows_in=sum(count.get["rows"] for count in counts),
        absent=tuple(c.name for c in schema.columns if not any(c.name in files.columns for files in groups)),
    )


def unreadable_columns(
    spark: SparkSession, groups: Sequence[Files], schema: EventSchema, reasons: Iterable[str]
) -> list[UnreadableColumn]:
    """Columns in which no value can be read, among files that are alike: those are other columns, not bad rows."""
    suspects = [c.name for c in schema.columns if f"{c.name}: {UNREADABLE[c.type]}" in reasons]
    found = []
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
        found += [
            UnreadableColumn(
                column=files.columns[name].name,
                problem=UNREADABLE[schema.column(name).type],
                example=seen[f"{name}?"],
                where=files.paths[0] if len(files.paths) == 1 else None,
            )
            for name in names
            if seen is not None and seen[name] == 0 and seen[f"{name}?"] is not None
        ]
    return found


def _whole_in_all(groups: Sequence[Files], name: str) -> bool:
    """Whether an id column is of whole numbers in every file, so that it need never be text."""
    return all(
        name in files.columns and isinstance(files.columns[name].type, T.IntegralType) for files in groups
    )


def _parsed(files: Files, frame: DataFrame, schema: EventSchema) -> dict[str, Parsed]:
    return {
        column.name: parse(
            column,
            F.col(column.name),
            frame.schema[column.name].dataType,
            csv=files.is_csv,
            layout=files.layout,
        )
        for column in schema.columns
        if column.name in files.columns
    }


def _checked(
    spark: SparkSession, files: Files, schema: EventSchema, numbers: set[str], count: Observation
) -> DataFrame:
    """The schema's columns, null where a value does not fit, and the first reason why the row is not good."""
    frame = files.rows(spark).observe(count, F.count(F.lit(1)).alias("rows"))
    parsed = _parsed(files, frame, schema)
    wrong_fields = F.col(WRONG_FIELDS).isNotNull()
    reasons = [F.when(wrong_fields, _WRONG_FIELDS)]
    reasons += [F.concat(F.lit(f"{name}: "), column.problem) for name, column in parsed.items()]
    reasons += [
        F.lit(f"{column.name}: missing")
        for column in schema.columns
        if column.name not in parsed and not column.nullable
    ]
    reason = F.coalesce(*reasons)
    line = as_json([F.col(WRONG_FIELDS).alias("line")])
    fields = as_json([F.col(ours).alias(field.name) for ours, field in files.columns.items()])
    row = F.when(wrong_fields, line).otherwise(fields)
    values = [
        (parsed[c.name].value if c.name in parsed else F.lit(None))
        .cast("bigint" if c.name in numbers else SPARK_TYPES[c.type])
        .alias(c.name)
        for c in schema.columns
    ]
    return frame.select(*values, FILE, reason.alias(REASON), F.when(reason.isNotNull(), row).alias(ROW))
