"""The file as it comes: its columns under their headers, text without the white space around it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from mlops.errors import InputError
from pipelines.canonical import trimmed
from pipelines.recognise import Field, fields_of
from pipelines.sources import files_at

__all__ = ["ROWS", "Table", "read_table"]

ROWS = 500_000  # so many are looked at


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The first rows of a file, or of several that are alike.

    Fields:
        columns: by header; text is trimmed, and null where nothing is left.
        strange: columns that no event can have: header and type.
        rows: how many there are here; `whole`: they are all.
        separator: of CSV, else "".
        odd_rows: CSV lines with more or fewer fields than the header, which are left out.
    """

    columns: dict[str, pa.ChunkedArray]
    strange: dict[str, str]
    rows: int
    whole: bool
    separator: str
    odd_rows: int


def read_table(source: Path, separator: str = "") -> Table:
    """Read the first rows of a Parquet or CSV file, or of the files of a folder.

    Raises:
        InputError: there is none, one cannot be read or is of another format, or the files have different columns.
    """
    paths = files_at(source)
    header, found = fields_of(paths[0], (), separator)
    parts: list[pa.Table] = []
    odd, left, more = 0, ROWS, False
    for path in paths:
        fields, sign = fields_of(path, (), separator)
        if [f.name for f in fields] != [f.name for f in header]:
            raise InputError(
                "has other columns than the first file", where=path, todo="put it into another folder"
            )
        if more or not left:
            more = True
            break
        try:
            part, more, skipped = _csv(path, header, sign, left) if sign else _parquet(path, left)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"cannot be read: {str(error).splitlines()[0]}", where=path, todo=_encoding(error)
            ) from None
        parts.append(part)
        odd, left = odd + skipped, left - part.num_rows
    table = pa.concat_tables(parts, promote_options="permissive")
    # Nothing keeps a header from naming a column twice; readers know the first one only.
    first = {name: table.column(number) for number, name in reversed(list(enumerate(table.column_names)))}
    strange = {f.name: f.described for f in header if f.type is None}
    return Table(
        columns={
            name: _plain(first[name]) for name in dict.fromkeys(table.column_names) if name not in strange
        },
        strange=strange,
        rows=table.num_rows,
        whole=not more,
        separator=found,
        odd_rows=odd,
    )


def _encoding(error: Exception) -> str:
    return "name its encoding: --encoding latin-1, cp1252 …" if "UTF8" in str(error) else ""


def _csv(path: Path, header: tuple[Field, ...], separator: str, limit: int) -> tuple[pa.Table, bool, int]:
    """At most `limit` rows, as text; whether there are more; and how many lines are no rows."""
    names = [f"_{n}" for n in range(len(header))]
    odd = 0

    def skip(row: csv.InvalidRow) -> str:
        nonlocal odd
        odd += 1
        return "skip"

    batches: list[pa.RecordBatch] = []
    rows = 0
    schema = pa.schema([(name, pa.string()) for name in names])
    try:
        reader = csv.open_csv(
            path,
            csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            csv.ParseOptions(delimiter=separator, invalid_row_handler=skip),
            csv.ConvertOptions(column_types=schema),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise
        return schema.empty_table().rename_columns([f.name for f in header]), False, 0
    with reader:
        for batch in reader:
            if rows > limit:
                break
            batches.append(batch)
            rows += batch.num_rows
    table = pa.Table.from_batches(batches, schema).rename_columns([f.name for f in header])
    return table.slice(0, limit), rows > limit, odd


def _parquet(path: Path, limit: int) -> tuple[pa.Table, bool, int]:
    with pq.ParquetFile(path) as file:
        rows, batches = 0, []
        for batch in file.iter_batches():
            if rows > limit:
                break
            batches.append(batch)
            rows += batch.num_rows
        table = pa.Table.from_batches(batches, file.schema_arrow)
    return table.slice(0, limit), rows > limit, 0


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_string_view(column.type)
    ):
        return trimmed(column)
    return column
