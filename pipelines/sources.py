"""Files of events as they come: which there are, what they hold, and the rows of those that are alike.

Parquet and CSV, one file or a folder of them. Nothing is trusted but the content: a name says nothing about the
format, and the files of a folder may differ in column types, column order and delimiter.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mlops.errors import InputError
from mlops.schema import EventSchema, Label
from mlops.storage import is_leftover
from pipelines.numbering import spark_row_ids
from pipelines.spark import literal_path

__all__ = ["FILE", "WRONG_FIELDS", "Files", "event_files"]

FILE = "_file"
WRONG_FIELDS = "_wrong_fields"  # a CSV line, where it has more or fewer fields than the header

_DELIMITERS = ",;\t"
_LONGEST_HEADER = 1 << 20
_CANONICAL = "canonical"
_NUMBERS = (T.IntegralType, T.FractionalType)
_TIMES = (T.TimestampType, T.TimestampNTZType, T.DateType)
_ACCEPTED: dict[str, tuple[type[T.DataType], ...]] = {
    "id": _NUMBERS,
    "timestamp": _TIMES,
    "decimal": _NUMBERS,
    "float": _NUMBERS,
    "integer": _NUMBERS,
    "text": _NUMBERS,
    "boolean": (*_NUMBERS, T.BooleanType),
}


class _Field(msgspec.Struct, frozen=True):
    """A column in a file. `nanoseconds`: it counts them since 1970, and Spark reads it as a whole number.

    `numbered`: no file has it, and its values are made by `pipelines.numbering`.
    """

    name: str
    type: T.DataType | None
    described: str
    nanoseconds: bool = False
    numbered: bool = False


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """Files with the same columns in the same format. `columns` maps ours, where there, to theirs."""

    paths: tuple[Path, ...]
    layout: str
    columns: dict[str, _Field]
    header: tuple[str, ...] = ()
    delimiter: str = ""

    @property
    def is_csv(self) -> bool:
        return bool(self.delimiter)

    @property
    def held(self) -> dict[str, _Field]:
        """The columns that the files have themselves."""
        return {ours: field for ours, field in self.columns.items() if not field.numbered}

    def rows(self, spark: SparkSession) -> DataFrame:
        """All rows: our columns as they stand in the files, `FILE`, and `WRONG_FIELDS`."""
        paths = [literal_path(path) for path in self.paths]
        if self.is_csv:
            # By position, because nothing keeps a header from naming a column twice.
            fields = [T.StructField(f"_{n}", T.StringType()) for n in range(len(self.header))]
            frame = (
                spark.read.schema(T.StructType([*fields, T.StructField(WRONG_FIELDS, T.StringType())]))
                .option("columnNameOfCorruptRecord", WRONG_FIELDS)
                .options(sep=self.delimiter, header=True, escape='"', columnPruning=False)
                .options(ignoreLeadingWhiteSpace=True, ignoreTrailingWhiteSpace=True)
                .csv(paths)
            )
            ours = [
                F.col(f"_{self.header.index(field.name)}").alias(name) for name, field in self.held.items()
            ]
        else:
            there = [f for f in self.held.values() if not isinstance(f.type, T.NullType)]
            fields = [T.StructField(field.name, field.type or T.NullType()) for field in there]
            frame = spark.read.schema(T.StructType(fields)).parquet(*paths)
            frame = frame.withColumn(WRONG_FIELDS, F.lit(None).cast("string"))
            ours = [_value(field).alias(name) for name, field in self.held.items()]
        made = self.columns.keys() - self.held.keys()
        ours += [spark_row_ids(self.paths, csv=self.is_csv).alias(name) for name in made]
        return frame.select(*ours, F.col("_metadata.file_name").alias(FILE), WRONG_FIELDS)


def _value(field: _Field) -> Column:
    if isinstance(field.type, T.NullType):
        return F.lit(None).cast("string")
    column = F.col("`" + field.name.replace("`", "``") + "`")
    if field.nanoseconds:  # rounded down, before 1970 too; `div` rounds towards zero
        return F.timestamp_micros(F.call_function("div", column - F.pmod(column, F.lit(1000)), F.lit(1000)))
    return column


def event_files(
    source: Path, schema: EventSchema, label: Label, only: Sequence[Path] | None = None
) -> list[Files]:
    """The event files at `source`, or `only` these of them, those alike together. Only headers and footers are read.

    Raises:
        InputError: there is none, one cannot be read, is neither Parquet nor CSV, or lacks a column, or has one of a
            wrong type.
    """
    try:
        return _event_files(_paths(source) if only is None else only, schema, label)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}", where=error.filename or source
        ) from None


def _event_files(paths: Sequence[Path], schema: EventSchema, label: Label) -> list[Files]:
    alike: dict[object, list[tuple[Path, tuple[_Field, ...], str]]] = {}
    for path in paths:
        fields, delimiter = _fields(path, schema)
        key = (delimiter, tuple((f.name, f.described) for f in fields))
        alike.setdefault(key, []).append((path, fields, delimiter))
    groups = []
    for members in alike.values():
        first, fields, delimiter = members[0]
        layout, columns = _resolve(first, fields, schema, label)
        groups.append(
            Files(
                paths=tuple(path for path, _, _ in members),
                layout=layout,
                columns=columns,
                header=tuple(f.name for f in fields),
                delimiter=delimiter,
            )
        )
    return groups


def _paths(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError("no such file or folder", where=source)
    paths = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and not any(_ignored(Path(part)) for part in path.relative_to(source).parts)
    ]
    if not paths:
        raise InputError("the folder holds no file", where=source, todo="put Parquet or CSV files into it")
    return paths


def _ignored(part: Path) -> bool:
    return is_leftover(part) or part.name.startswith((".", "_"))


def _fields(path: Path, schema: EventSchema) -> tuple[tuple[_Field, ...], str]:
    """The file's columns, and the delimiter if it is CSV."""
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if not head:
        raise InputError("the file is empty", where=path)
    if head.startswith(b"PAR1"):
        return _parquet_fields(path), ""
    if head.startswith(b"\x80") or path.suffix in (".pkl", ".pickle", ".joblib"):
        raise InputError(
            "a pickle is not read: opening one can run any code", where=path, todo="save it as Parquet or CSV"
        )
    if head.startswith(b"\x1f\x8b"):
        if path.suffix != ".gz":
            raise InputError("compressed with gzip, but not named so", where=path, todo="name it .csv.gz")
        try:
            with gzip.open(path) as unpacked:
                head = unpacked.read(_LONGEST_HEADER)
        except (OSError, EOFError, zlib.error):
            raise InputError("is damaged: it cannot be unpacked", where=path) from None
    return _csv_fields(path, head, schema)


def _csv_fields(path: Path, head: bytes, schema: EventSchema) -> tuple[tuple[_Field, ...], str]:
    neither = InputError(
        "neither Parquet nor CSV", where=path, todo="CSV must be UTF-8 text with a header line"
    )
    line = head.partition(b"\n")[0].rstrip(b"\r")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise neither from None
    if not text.strip() or not text.replace("\t", " ").isprintable():
        raise neither
    known = {c.name for c in schema.columns}.union(*(layout.columns.values() for layout in schema.layouts))
    headers = {
        sign: [name.strip() for name in next(csv.reader([text], delimiter=sign))] for sign in _DELIMITERS
    }
    delimiter = max(_DELIMITERS, key=lambda sign: (len(known & set(headers[sign])), len(headers[sign])))
    if len(headers[delimiter]) == 1:
        raise neither
    return tuple(_Field(name, T.StringType(), "text") for name in headers[delimiter]), delimiter


def _parquet_fields(path: Path) -> tuple[_Field, ...]:
    try:
        with pq.ParquetFile(path) as file:
            arrow = file.schema_arrow
            physical = {
                column.path: column.physical_type
                for column in map(file.schema.column, range(len(file.schema)))
            }
    except (pa.ArrowException, OSError):
        raise InputError("is damaged: its Parquet footer cannot be read", where=path) from None
    return tuple(_parquet_field(field, physical.get(field.name, "")) for field in arrow)


def _parquet_field(field: pa.Field, physical: str) -> _Field:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    nanoseconds = pa.types.is_timestamp(type_) and type_.unit == "ns" and physical == "INT64"
    return _Field(field.name, _spark_type(type_, nanoseconds), str(type_), nanoseconds)


def _spark_type(type_: pa.DataType, nanoseconds: bool) -> T.DataType | None:
    """The type that Spark must be asked for, None for what no event column can be."""
    if pa.types.is_decimal128(type_):
        return T.DecimalType(type_.precision, type_.scale)
    if nanoseconds:
        return T.LongType()
    if pa.types.is_timestamp(type_):
        # Old writers' INT96 shows as nanoseconds without a zone, yet Spark reads it as an instant.
        return T.TimestampType() if type_.tz or type_.unit == "ns" else T.TimestampNTZType()
    simple: dict[pa.DataType, T.DataType] = {
        pa.null(): T.NullType(),
        pa.bool_(): T.BooleanType(),
        pa.int8(): T.ByteType(),
        pa.int16(): T.ShortType(),
        pa.int32(): T.IntegerType(),
        pa.int64(): T.LongType(),
        pa.uint8(): T.ShortType(),
        pa.uint16(): T.IntegerType(),
        pa.uint32(): T.LongType(),
        pa.uint64(): T.DecimalType(20, 0),
        pa.float32(): T.FloatType(),
        pa.float64(): T.DoubleType(),
        pa.string(): T.StringType(),
        pa.large_string(): T.StringType(),
        pa.string_view(): T.StringType(),
        pa.date32(): T.DateType(),
    }
    return simple.get(type_)


def _layouts(schema: EventSchema) -> Iterator[tuple[str, dict[str, str]]]:
    yield _CANONICAL, {column.name: column.name for column in schema.columns}
    for layout in schema.layouts:
        yield layout.name, layout.columns


def _resolve(
    path: Path, fields: tuple[_Field, ...], schema: EventSchema, label: Label
) -> tuple[str, dict[str, _Field]]:
    """The first layout whose columns are all there, but optional ones, and its columns by our names."""
    there = {field.name: field for field in fields}
    nearest: tuple[list[str], str] | None = None
    for layout, names in _layouts(schema):
        optional = {label.column, *(c.name for c in schema.columns if c.optional)}
        optional |= {schema.id} if schema.numbered else set()
        missing = [names.get(c.name, c.name) for c in schema.columns if c.name not in optional]
        missing = [name for name in missing if name not in there]
        if not missing:
            columns = {ours: there[theirs] for ours, theirs in names.items() if theirs in there}
            for ours, field in columns.items():
                _check_type(path, field, schema.column(ours).type)
            if schema.id not in columns:
                columns[schema.id] = _Field(schema.id, T.StringType(), "numbered", numbered=True)
            return layout, columns
        if nearest is None or len(missing) < len(nearest[0]):
            nearest = (missing, layout)
    missing, layout = nearest or ([], "")
    raise InputError(
        f"no column {', '.join(missing)} (layout {layout}); the file has {', '.join(there)}",
        where=path,
        todo="layouts known: "
        + "; ".join(f"{name} ({', '.join(names.values())})" for name, names in _layouts(schema)),
    )


def _check_type(path: Path, field: _Field, wanted: str) -> None:
    fits = isinstance(field.type, (T.StringType, T.NullType, *_ACCEPTED[wanted]))
    if not (fits and not field.nanoseconds) and not (field.nanoseconds and wanted == "timestamp"):
        raise InputError(f"column {field.name} is {field.described}, which is no {wanted}", where=path)
