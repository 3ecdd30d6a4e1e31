"""A day of a feature table as a file: sorted, written once, and known by its content."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.schema import EventSchema, Label
from mlops.storage import aside
from mlops.tables import NO_DAY, Part, day_folder, total_fingerprint
from pipelines.hashing import table_fingerprint

__all__ = ["Written", "column_types", "day_numbers", "parts_of", "write_day"]

_DAY_US = 86_400_000_000


class Written(msgspec.Struct, frozen=True):
    """A file of a feature table, and how many of its rows have no known label."""

    day: str
    rows: int
    unlabelled: int
    fingerprint: str


def column_types(schema: EventSchema) -> dict[str, str]:
    """What of each column the features depend on: its type, and its decimals, which totals and quotients are in."""
    return {c.name: f"{c.type}({c.decimals})" if c.type == "decimal" else c.type for c in schema.columns}


def day_numbers(table: pa.Table, schema: EventSchema) -> NDArray[np.int64]:
    """The day of each event [n], counted from 1970-01-01 (UTC); 0 for events without a time."""
    if not schema.time:
        return np.zeros(table.num_rows, np.int64)
    times = table[schema.time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return times // _DAY_US


def write_day(folder: Path, table: pa.Table, schema: EventSchema, label: Label) -> Written:
    """Write events of one day with their features into the feature table in `folder`, in the order of (time, id).

    The file is named for its content, so that to write it again changes nothing.

    Args:
        table: at least one row.
    """
    order = [(schema.time, "ascending")] if schema.time else []
    table = table.sort_by([*order, (schema.id, "ascending")])
    day = str(np.datetime64(int(day_numbers(table.slice(0, 1), schema)[0]), "D")) if schema.time else NO_DAY
    fingerprint = table_fingerprint(table)
    target = day_folder(folder, day) / f"part-{fingerprint}.parquet"
    target.parent.mkdir(exist_ok=True)
    temporary = aside(target)  # another try of the same task may be writing it, too
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, target)
    return Written(day, table.num_rows, table[label.column].null_count, fingerprint)


def parts_of(files: list[Written]) -> dict[str, Part]:
    """The days that these files make up, in order."""
    parts: dict[str, Part] = {}
    for file in sorted(files, key=lambda file: file.day):
        part = Part(rows=file.rows, fingerprint=file.fingerprint)
        if before := parts.get(file.day):
            both = total_fingerprint({"before": before, "more": part})
            part = Part(rows=before.rows + part.rows, fingerprint=both)
        parts[file.day] = part
    return parts
