"""Events as Spark holds them between the files that they came in and the table that they go to, and the quarantine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mlops.errors import InputError
from mlops.schema import EventSchema
from pipelines.sources import FILE

__all__ = [
    "DUPLICATE",
    "LABEL",
    "MOMENT",
    "REASON",
    "ROW",
    "SPARK_TYPES",
    "as_json",
    "is_stored_as",
    "stored_types",
    "typed",
    "write_quarantine",
]

REASON, ROW = "_reason", "_row"
DUPLICATE, LABEL = "duplicate", "label"
"""Reasons of rows that are no new events and not bad: they repeat one, or bring the label of one in the table."""
MOMENT = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
SPARK_TYPES = {
    "id": "string",  # bigint where all in the table are whole numbers
    "timestamp": "timestamp",
    "decimal": "double",
    "float": "double",
    "integer": "bigint",
    "text": "string",
    "boolean": "boolean",
}
_WIDER = {("bigint", "double"), ("bigint", "string")}  # what a column's type may become without loss


def as_json(columns: Sequence[Column]) -> Column:
    """A row as JSON text: nulls said, times in ISO 8601."""
    return F.to_json(F.struct(*columns), {"ignoreNullFields": "false", "timestampFormat": MOMENT})


def stored_types(schema: EventSchema, whole_number_ids: Collection[str]) -> dict[str, str]:
    """The type of each column in an event table."""
    return {c.name: "bigint" if c.name in whole_number_ids else SPARK_TYPES[c.type] for c in schema.columns}


def is_stored_as(
    there: Mapping[str, str], types: Mapping[str, str], schema: EventSchema, where: object
) -> bool:
    """Whether a table's columns are just these, in these types; False where `typed` makes them so without loss.

    Raises:
        InputError: the table lacks a column that must have a value, or has one of another kind.
    """
    for name, type_ in types.items():
        if name not in there and not schema.column(name).nullable:
            what = f"has no column {name}, which must have a value"
        elif name in there and there[name] != type_ and (there[name], type_) not in _WIDER:
            what = f"column {name} is {there[name]}, and now {type_}"
        else:
            continue
        raise InputError(what, where=where, todo="write it anew from all files: mlops validate")
    return dict(there) == dict(types)


def typed(rows: DataFrame, types: Mapping[str, str]) -> DataFrame:
    """These columns in these types; one that the rows lack is null."""
    there = set(rows.columns)
    return rows.select(
        *(
            (F.col(name) if name in there else F.lit(None)).cast(type_).alias(name)
            for name, type_ in types.items()
        )
    )


def write_quarantine(rows: DataFrame, folder: Path, schema: EventSchema) -> None:
    """Write the bad rows: reason, row (JSON) and the source file's name."""
    bad = rows.where(F.col(REASON).isNotNull() & ~F.col(REASON).isin(DUPLICATE, LABEL))
    event = as_json([F.col(c.name) for c in schema.columns])
    bad.select(
        F.col(REASON).alias("reason"), F.coalesce(ROW, event).alias("row"), F.col(FILE).alias("source")
    ).repartition(1).write.mode("append").parquet(str(folder))
