"""Event files as one Arrow table in canonical columns, for what needs neither Spark nor a quarantine.

The same files in the same layouts that validation reads, and each value as validation reads it. Limits are not
checked: a server that is sent such events does that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from mlops.errors import InputError
from mlops.layout import Layout
from mlops.schema import Column, EventSchema, Label
from pipelines.foreign import arrow_form
from pipelines.numbering import row_ids
from pipelines.recognise import Field
from pipelines.sources import Files, event_files

__all__ = ["ARROW_TYPES", "are_whole_numbers", "read_events", "trimmed", "typed"]

_MOMENT = pa.timestamp("us")
ARROW_TYPES = {
    "id": pa.string(),  # until it is known whether all are whole numbers
    "timestamp": _MOMENT,
    "decimal": pa.float64(),
    "float": pa.float64(),
    "integer": pa.int64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
}


def read_events(
    sources: Sequence[Path], schema: EventSchema, label: Label, layout: Layout | None = None
) -> pa.Table:
    """The events of Parquet and CSV files, or of folders of them, in the order of the files.

    Their layout is ours or one of the schema's, unless it is given (see `layouts_of`).

    Returns:
        the schema's columns: ids int64 if all in the column are whole numbers, else text; times timestamp[us], UTC
        without saying so; decimals and floats double; the label null where a file has none.

    Raises:
        InputError: one is no file of events (see `event_files`), is damaged, or holds a value that cannot be read.
    """
    groups = [files for source in sources for files in event_files(source, schema, label, layout=layout)]
    table = pa.concat_tables([_read(path, files, schema) for files in groups for path in files.paths])
    types = [
        pa.int64() if c.type == "id" and are_whole_numbers(table[c.name]) else ARROW_TYPES[c.type]
        for c in schema.columns
    ]
    return table.cast(pa.schema(list(zip(table.column_names, types, strict=True))))


def are_whole_numbers(ids: pa.ChunkedArray) -> bool:
    """Whether all are int64 in their usual spelling: 7, not 007."""
    try:
        return bool(ids.cast(pa.int64()).cast(pa.string()).equals(ids))
    except pa.ArrowInvalid:
        return False


def _read(path: Path, files: Files, schema: EventSchema) -> pa.Table:
    try:
        raw = _raw_csv(path, files) if files.is_csv else _raw_parquet(path, files)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot be read: {str(error).splitlines()[0]}", where=path) from None
    if schema.id not in files.held:
        raw[schema.id] = row_ids(path, len(next(iter(raw.values()))))
    columns = {}
    for column in schema.columns:
        values = raw.get(column.name)
        try:
            columns[column.name] = (
                pa.nulls(raw[schema.id].length(), ARROW_TYPES[column.type])
                if values is None
                else typed(column, values, files.layout).cast(ARROW_TYPES[column.type])
            )
        except ValueError as error:  # pyarrow's own are of this kind
            raise InputError(
                f"column {files.columns[column.name].name}: {str(error).splitlines()[0]}",
                where=path,
                todo="set such rows apart with mlops validate, and take the events that are left",
            ) from None
    return pa.table(columns)


def _raw_parquet(path: Path, files: Files) -> dict[str, pa.ChunkedArray]:
    names = {part.name for field in files.held.values() for part in field.parts or (field,)}
    with pq.ParquetFile(path) as file:
        table = file.read(columns=sorted(names))
    return {ours: _column(field, lambda part: table[part.name]) for ours, field in files.held.items()}


def _raw_csv(path: Path, files: Files) -> dict[str, pa.ChunkedArray]:
    names = [f"_{n}" for n in range(len(files.header))]  # nothing keeps a header from naming a column twice
    table = csv.read_csv(
        path,
        csv.ReadOptions(column_names=names, skip_rows=1),
        csv.ParseOptions(delimiter=files.delimiter),
        csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    columns = {
        ours: _column(field, lambda part: table[f"_{files.header.index(part.name)}"])
        for ours, field in files.held.items()
    }
    # As validation does: some write a column of whole numbers with a gap as 12.0.
    return {
        ours: pc.replace_substring_regex(values, r"^(-?\d+)\.0+$", r"\1") for ours, values in columns.items()
    }


def _column(field: Field, there: Callable[[Field], pa.ChunkedArray]) -> pa.ChunkedArray:
    if not field.parts:
        return there(field)
    return pc.binary_join_element_wise(*(trimmed(there(part).cast(pa.string())) for part in field.parts), " ")


def trimmed(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without white space around it; null where nothing is left."""
    bare = pc.utf8_trim_whitespace(text.cast(pa.string()))
    return pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)


def typed(column: Column, raw: pa.ChunkedArray, layout: Layout) -> pa.ChunkedArray:
    """The values of a column in a type that casts to its own (see `ARROW_TYPES`).

    Args:
        raw: as they stand in the file.
        layout: how the file writes them.

    Raises:
        ValueError: one cannot be read.
    """
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if pa.types.is_null(raw.type):
        return raw
    if (
        pa.types.is_string(raw.type)
        or pa.types.is_large_string(raw.type)
        or pa.types.is_string_view(raw.type)
    ):
        raw = trimmed(raw)
        if layout.missing:
            raw = pc.if_else(pc.is_in(raw, pa.array(layout.missing)), pa.scalar(None, pa.string()), raw)
    form = arrow_form(column, raw, layout)
    if form.null_count > raw.null_count:
        unread = raw.filter(pc.and_(raw.is_valid(), form.is_null()))[0].as_py()
        raise ValueError(f"{str(unread)!r} is no {column.type} as layout {layout.name} writes it")
    raw = form
    if column.type == "id":
        return raw.cast(pa.int64()) if pa.types.is_floating(raw.type) else raw
    if column.type == "timestamp":
        return _times(raw)
    if column.type == "decimal":
        scale = 10.0**column.decimals
        doubles = raw.cast(pa.float64(), safe=pa.types.is_string(raw.type))
        return pc.add(pc.divide(pc.round(pc.multiply(doubles, scale), round_mode="half_to_even"), scale), 0.0)
    if column.type == "float":
        return raw.cast(pa.float64(), safe=pa.types.is_string(raw.type))
    return _booleans(raw) if column.type == "boolean" else raw


def _times(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(raw.type):
        moments = [None if text is None else datetime.fromisoformat(text) for text in raw.to_pylist()]
        naive = [m.astimezone(UTC).replace(tzinfo=None) if m and m.tzinfo else m for m in moments]
        return pa.chunked_array([pa.array(naive, _MOMENT)])
    if pa.types.is_timestamp(raw.type) and raw.type.unit == "ns":
        known = raw.is_valid().to_numpy()
        nanoseconds = raw.cast(pa.int64()).fill_null(0).to_numpy()
        return pa.chunked_array([pa.array(nanoseconds // 1000, pa.int64(), mask=~known).cast(_MOMENT)])
    if pa.types.is_timestamp(raw.type):
        return raw.cast(pa.timestamp("us", raw.type.tz)).cast(pa.int64()).cast(_MOMENT)
    return raw


def _booleans(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(raw.type):
        return raw
    if pa.types.is_string(raw.type):
        words = pc.utf8_lower(raw)
        raw = pc.if_else(pc.equal(words, "true"), "1", pc.if_else(pc.equal(words, "false"), "0", words))
    numbers = raw.cast(pa.float64())
    wrong = numbers.filter(pc.invert(pc.is_in(numbers, pa.array([0.0, 1.0, None]))))
    if len(wrong):
        raise ValueError(f"{wrong[0].as_py():g} is neither true nor false")
    return pc.equal(numbers, 1.0)
