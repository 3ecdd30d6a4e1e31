"""The files of event tables and labels tables, as Spark's workers read them: with Arrow, a stretch of rows at a time.

A worker reads the paths that it is given, so tables must lie where all workers see them (see `pipelines.staged`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlops.errors import InputError
from mlops.schema import EventSchema
from mlops.tables import day_folder, read_event_table
from pipelines.event_table import is_stored_as, stored_types

__all__ = [
    "TASK_ROWS",
    "arrow_schema",
    "dealt_out",
    "event_dataset",
    "event_files",
    "read_rows",
    "table_files",
    "with_labels",
]

TASK_ROWS = 400_000
"""Rows that a worker holds at once: with some tens of features, a few hundred megabytes."""

_ARROW = {
    "bigint": pa.int64(),
    "string": pa.string(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_NAMES = {type_: name for name, type_ in _ARROW.items()}


def arrow_schema(types: Mapping[str, str]) -> pa.Schema:
    """Columns by name and Spark's name of their type, as Arrow's."""
    return pa.schema([(name, _ARROW[type_]) for name, type_ in types.items()])


def table_files(table: Path) -> list[Path]:
    """A table's files, in order.

    Raises:
        InputError: there are none.
    """
    names = (path for path in sorted(table.rglob("*.parquet")))
    files = [p for p in names if not any(part.startswith(("_", ".")) for part in p.relative_to(table).parts)]
    if not files:
        raise InputError("has no files", where=table, todo="write it again")
    return files


def event_files(
    table: Path, days: Collection[str], types: Mapping[str, str], schema: EventSchema, since: datetime | None
) -> list[Path]:
    """The files of an event table, without those of days that end before `since`.

    Args:
        days: the table's days, by ISO date; none if it is not a table by day.

    Raises:
        InputError: it has no files, or does not fit the schema.
    """
    files = table_files(table)
    there = {field.name: _NAMES.get(field.type, str(field.type)) for field in _read_schema(files[0])}
    is_stored_as(there, types, schema, table)
    if since is None:
        return files
    past = {day_folder(table, day) for day in days if day < since.date().isoformat()}
    return [file for file in files if file.parent not in past]


def dealt_out(files: Sequence[Path], hands: int) -> list[tuple[str, ...]]:
    """The files dealt out to so many hands, or fewer, evenly by their size."""
    sizes = [0] * min(hands, len(files))
    dealt: list[list[str]] = [[] for _ in sizes]
    for size, file in sorted(((file.stat().st_size, file) for file in files), reverse=True):
        hand = sizes.index(min(sizes))
        dealt[hand].append(str(file))
        sizes[hand] += size
    return [tuple(sorted(hand)) for hand in dealt]


def event_dataset(table: Path, schema: EventSchema) -> ds.Dataset:
    """The events of a table to be looked up, in the schema's columns and types; a column that it lacks is null.

    Raises:
        InputError: it is none, or does not fit the schema.
    """
    types = stored_types(schema, read_event_table(table).whole_number_ids)
    event_files(table, (), types, schema, None)
    return ds.dataset(table, schema=arrow_schema(types), format="parquet")


def read_rows(files: Sequence[str], wanted: pa.Schema) -> Iterator[pa.Table]:
    """The rows of files in these columns and types, some at a time; a column that a file lacks is null.

    Raises:
        InputError: a file is damaged.
    """
    held: list[pa.Table] = []
    for file in files:
        try:
            with pq.ParquetFile(file) as source:
                names = [name for name in wanted.names if name in source.schema_arrow.names]
                for batch in source.iter_batches(columns=names):
                    held.append(_as(pa.Table.from_batches([batch]), wanted))
                    if sum(table.num_rows for table in held) >= TASK_ROWS:
                        yield pa.concat_tables(held)
                        held = []
        except (OSError, pa.ArrowException) as error:
            raise InputError("is damaged: it cannot be read to its end", where=file) from error
    if held:
        yield pa.concat_tables(held)


def with_labels(events: pa.Table, labels: pa.Table, id_: str, label: str) -> pa.Table:
    """Events with the labels that are known of them; the others keep their own."""
    places = pc.index_in(events[id_], value_set=labels[id_].combine_chunks())
    known = labels[label].combine_chunks().take(places.combine_chunks())
    return events.set_column(
        events.column_names.index(label), label, pc.coalesce(known, events[label].combine_chunks())
    )


def _read_schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise InputError("is damaged: it cannot be read to its end", where=file) from error


def _as(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    columns = [
        _cast(table[field.name], field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_string(column.type) and pa.types.is_integer(
        type_
    ):  # ids of another table's kind: none of these
        whole = pc.match_substring_regex(column, r"^-?[0-9]{1,18}$")
        column = pc.if_else(whole, column, pa.scalar(None, column.type))
    return column.cast(type_, safe=pa.types.is_timestamp(type_))
