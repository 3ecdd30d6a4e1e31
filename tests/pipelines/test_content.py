"""A fingerprint is of what a table says, and of nothing else."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from pipelines.content import content_metrics, fingerprint

A, B = {"x": 1, "one": True, "two": None}, {"x": 2, "one": False, "two": True}


def of(spark: SparkSession, rows: list[dict[str, Any]]) -> str:
    frame = spark.createDataFrame(rows, "x bigint, one boolean, two boolean")
    row = frame.agg(*content_metrics(frame.columns)).first()
    assert row is not None and row["rows"] == len(rows)
    return fingerprint(row)


def test_it_depends_on_the_rows_and_not_on_their_order(spark: SparkSession) -> None:
    assert of(spark, [A, B]) == of(spark, [B, A])
    assert len({of(spark, rows) for rows in ([A], [A, A], [A, B], [B])}) == 4


def test_it_depends_on_which_column_has_no_value(spark: SparkSession) -> None:
    assert of(spark, [A]) != of(spark, [{"x": 1, "one": None, "two": True}])


def test_those_of_parts_add_up_to_the_wholes(spark: SparkSession) -> None:
    parts = int(of(spark, [A]), 16) + int(of(spark, [B]), 16)
    assert of(spark, [A, B]) == f"{parts:032x}"
