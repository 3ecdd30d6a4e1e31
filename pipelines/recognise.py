"""What kind of file this is, and its columns: from its first bytes, its header or its footer, whatever its name."""

from __future__ import annotations

import bz2
import csv
import gzip
import re
import zlib
from collections.abc import Collection
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import types as T

from mlops.errors import InputError

__all__ = ["Field", "fields_of", "is_pickle"]

_SEPARATORS = ",;\t|"
_RARE_SEPARATORS = "^~:!#&\x01\x1f"
_LONGEST_HEADER = 1 << 20
_PACKED = {b"\x1f\x8b": (".gz", "gzip", gzip.GzipFile), b"BZh": (".bz2", "bzip2", bz2.BZ2File)}
# Protocol 0 and 1 are text: they begin with the name of what is to be called.
_TEXT_PICKLE = re.compile(
    rb"[(\]}ld\d\n]*c(__builtin__|builtins|copy_?reg|collections|numpy|pandas|sklearn)[\w.]*\n\w+\n"
)
_BINARY = re.compile(rb"[^\t\n\r\x01\x1f -\xff]")
_NOT_READ = "CSV must be UTF-8 text with a header line"


class Field(msgspec.Struct, frozen=True):
    """A column in a file. `nanoseconds`: it counts them since 1970, and Spark reads it as a whole number.

    `numbered`: no file has it, and its values are made by `pipelines.numbering`. `parts`: it is these, joined.
    """

    name: str
    type: T.DataType | None
    described: str
    nanoseconds: bool = False
    numbered: bool = False
    parts: tuple[Field, ...] = ()


def fields_of(path: Path, known: Collection[str], separators: str = "") -> tuple[tuple[Field, ...], str]:
    """The file's columns, and the separator if it is CSV.

    Args:
        known: names of columns that are looked for, by which the separator is found.
        separators: the only ones that it may be.

    Raises:
        InputError: the file is neither Parquet nor CSV, is damaged, or is a pickle.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if not head:
        raise InputError("the file is empty", where=path)
    if head.startswith(b"PAR1"):
        return _parquet_fields(path), ""
    for magic, (suffix, method, open_packed) in _PACKED.items():
        if head.startswith(magic):
            if path.suffix != suffix:
                raise InputError(
                    f"compressed with {method}, but not named so", where=path, todo=f"name it .csv{suffix}"
                )
            try:
                with open_packed(path) as unpacked:
                    head = unpacked.read(_LONGEST_HEADER)
            except (OSError, EOFError, zlib.error):
                raise InputError("is damaged: it cannot be unpacked", where=path) from None
    if is_pickle(head) or path.suffix in (".pkl", ".pickle", ".joblib"):
        raise InputError(
            "a pickle is not read: opening one can run any code", where=path, todo="save it as Parquet or CSV"
        )
    if head.startswith(b"PAR1"):
        raise InputError("compressed Parquet", where=path, todo="unpack it: Parquet is compressed inside")
    return _csv_fields(path, head, known, separators)


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins like this is a pickle, maybe one that was compressed by joblib."""
    if head[:1] == b"x" and len(head) > 1 and (head[0] << 8 | head[1]) % 31 == 0:
        try:
            head = zlib.decompressobj().decompress(head, 1024)
        except zlib.error:
            return False
    return re.match(rb"\x80[\x00-\x0f]", head) is not None or _TEXT_PICKLE.match(head) is not None


def _csv_fields(
    path: Path, head: bytes, known: Collection[str], separators: str
) -> tuple[tuple[Field, ...], str]:
    neither = InputError("neither Parquet nor CSV", where=path, todo=_NOT_READ)
    line = head.partition(b"\n")[0].rstrip(b"\r")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        if _BINARY.search(head[:1024]):
            raise neither from None
        raise InputError(
            "the header is no UTF-8 text", where=path, todo="name its encoding: --encoding latin-1, cp1252 …"
        ) from None
    candidates = separators or _SEPARATORS + _RARE_SEPARATORS
    if not text.strip() or not text.translate(dict.fromkeys(map(ord, candidates), " ")).isprintable():
        raise neither
    try:
        headers = {
            sign: [name.strip() for name in next(csv.reader([text], delimiter=sign))] for sign in candidates
        }
    except csv.Error:  # a line that is too long
        raise neither from None

    def likely(sign: str) -> tuple[int, bool, int]:
        return len(set(known) & set(headers[sign])), sign not in _RARE_SEPARATORS, len(headers[sign])

    separator = max(candidates, key=likely)
    if len(headers[separator]) == 1:
        raise neither
    return tuple(Field(name, T.StringType(), "text") for name in headers[separator]), separator


def _parquet_fields(path: Path) -> tuple[Field, ...]:
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


def _parquet_field(field: pa.Field, physical: str) -> Field:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    nanoseconds = pa.types.is_timestamp(type_) and type_.unit == "ns" and physical == "INT64"
    return Field(field.name, _spark_type(type_, nanoseconds), str(type_), nanoseconds)


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
