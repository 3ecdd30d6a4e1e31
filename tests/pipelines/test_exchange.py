"""Rows packed as Arrow come out as they went in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines import exchange as packing
from pipelines.exchange import PACKED, exchange, pack, unpack


def test_every_row_comes_out_in_its_bucket() -> None:
    rows = packing._PIECE_ROWS * 3
    rng = np.random.default_rng(0)
    table = pa.table(
        {"row": np.arange(rows), "text": pa.array([None if n % 7 == 0 else str(n) for n in range(rows)])}
    )
    buckets = rng.choice([-5, 0, 3, 1_000_000], rows, p=[0.1, 0.6, 0.2, 0.1])
    packed = list(pack(table, buckets))
    assert len(packed) > 4  # the largest bucket is several pieces
    found = unpack(packed)
    assert set(found) == {-5, 0, 3, 1_000_000}
    for bucket, part in found.items():
        assert part.equals(table.filter(pa.array(buckets == bucket)))


def test_no_rows_are_no_pieces() -> None:
    assert list(pack(pa.table({"row": pa.array([], pa.int64())}), np.array([], np.int64))) == []


def test_buckets_are_whole_and_where_they_belong(spark: SparkSession) -> None:
    def made(batches):  # type: ignore[no-untyped-def]
        for batch in batches:
            numbers = batch.column(0).to_numpy()
            yield from pack(pa.table({"number": numbers}), numbers % 11)

    def seen(batches):  # type: ignore[no-untyped-def]
        for bucket, table in unpack(batches).items():
            yield pa.RecordBatch.from_pylist(
                [{"bucket": bucket, "numbers": sorted(table["number"].to_pylist())}]
            )

    frame = exchange(spark.range(0, 500, 1, 5).mapInArrow(made, PACKED), 4)
    rows = frame.mapInArrow(seen, "bucket bigint, numbers array<bigint>").selectExpr(
        "bucket", "numbers", "spark_partition_id() AS place"
    )
    found = {row["bucket"]: (row["place"], row["numbers"]) for row in rows.collect()}
    assert found == {b: (b % 4, list(range(b, 500, 11))) for b in range(11)}
