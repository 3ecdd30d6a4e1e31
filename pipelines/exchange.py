"""Rows on their way between Spark's tasks, packed as Arrow.

Spark moves a few large values instead of many small ones: its shuffle, its memory and its retries stay as they are,
and no row is taken apart into cells and put together again, which is most of what a wide shuffle costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

__all__ = ["PACKED", "exchange", "pack", "unpack"]

PACKED = StructType([StructField("bucket", IntegerType(), False), StructField("rows", BinaryType(), False)])
"""What a packed frame holds: some rows of a bucket."""

_ARROW = pa.schema([pa.field("bucket", pa.int32(), False), pa.field("rows", pa.binary(), False)])
_PIECE_ROWS = 32_768  # a few megabytes: small beside Spark's memory, large beside what a piece costs


def pack(table: pa.Table, buckets: NDArray[np.integer]) -> Iterator[pa.RecordBatch]:
    """The rows of a table, packed by the bucket [n] that each belongs to."""
    order = np.argsort(buckets, kind="stable")
    ordered = buckets[order]
    changes = np.flatnonzero(np.diff(ordered)) + 1
    begins = [0, *changes.tolist()] if len(ordered) else []
    table = table.take(pa.array(order)).combine_chunks()
    for begin, end in zip(begins, [*begins[1:], len(ordered)], strict=False):
        for place in range(begin, end, _PIECE_ROWS):
            rows = _packed(table.slice(place, min(_PIECE_ROWS, end - place)))
            columns = [pa.array([ordered[begin]], pa.int32()), pa.array([rows], pa.binary())]
            yield pa.record_batch(columns, schema=_ARROW)


def unpack(batches: Iterable[pa.RecordBatch]) -> dict[int, pa.Table]:
    """The rows that `pack` packed, by bucket."""
    pieces: dict[int, list[pa.Table]] = {}
    for batch in batches:
        for bucket, rows in zip(batch["bucket"].to_pylist(), batch["rows"], strict=True):
            pieces.setdefault(bucket, []).append(pa.ipc.open_stream(rows.as_buffer()).read_all())
    return {bucket: pa.concat_tables(tables) for bucket, tables in pieces.items()}


def exchange(packed: DataFrame, partitions: int) -> DataFrame:
    """The same rows, each bucket whole and in the partition of its number modulo `partitions`."""
    return packed.repartitionById(partitions, "bucket")


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
