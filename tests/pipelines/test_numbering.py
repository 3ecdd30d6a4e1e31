"""Rows of files without ids get ids that follow from the content alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.schema import Column, EventSchema, Label
from mlops.tables import read_event_table
from pipelines.canonical import read_events
from pipelines.numbering import digest_of
from pipelines.validate import ValidateResult, validate

EVENTS = EventSchema(
    id="flat",
    numbered=True,
    columns=(
        Column(name="flat", type="id"),
        Column(name="area", type="float"),
        Column(name="city", type="text", nullable=True),
        Column(name="rent", type="float", nullable=True),
    ),
)
LABEL = Label(column="rent")
ROWS = pd.DataFrame({"area": [50.0, 70.5, 50.0], "city": ["Ulm", None, "Ulm"], "rent": [500.0, 700.0, 500.0]})


def check(spark: SparkSession, source: Path, tmp_path: Path) -> tuple[ValidateResult, pa.Table]:
    found = validate(spark, source, tmp_path / "events", tmp_path / "quarantine", EVENTS, LABEL)
    return found, pq.read_table(tmp_path / "events", partitioning=None)


def by_id(table: pa.Table) -> dict[str, float]:
    return dict(zip(table["flat"].to_pylist(), table["area"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", ["flats.csv", "a b+c%20[1] ö.csv", "flats.parquet", "a b+c%20[1] ö.parquet"])
def test_rows_are_numbered_in_their_order_alike_by_spark_and_by_arrow(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    ROWS.to_csv(path, index=False) if name.endswith("csv") else ROWS.to_parquet(path)
    found, table = check(spark, path, tmp_path)
    prefix = digest_of(path)[:12]
    assert by_id(table) == {f"{prefix}-1": 50.0, f"{prefix}-2": 70.5, f"{prefix}-3": 50.0}
    assert read_events([path], EVENTS, LABEL)["flat"].to_pylist() == [f"{prefix}-{n}" for n in (1, 2, 3)]
    # Two flats that are alike are two flats.
    assert (found.good, found.duplicates, found.quarantined) == (3, 0, 0)
    assert read_event_table(tmp_path / "events").whole_number_ids == ()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_several_tasks_read_is_numbered_through(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"flats.{kind}"
    many = pd.DataFrame({"area": range(20_000), "city": "Ulm", "rent": 1.0}).astype({"area": float})
    many.to_csv(path, index=False) if kind == "csv" else many.to_parquet(path, row_group_size=3_000)
    spark.conf.set("spark.sql.files.maxPartitionBytes", 40_000)
    try:
        _, table = check(spark, path, tmp_path)
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    assert {int(id_.partition("-")[2]) - 1: area for id_, area in by_id(table).items()} == {
        n: float(n) for n in range(20_000)
    }


def test_the_name_of_a_file_does_not_matter_and_its_content_does(spark: SparkSession, tmp_path: Path) -> None:
    for day, shift in (("monday", 0.0), ("tuesday", 1.0)):
        folder = tmp_path / "flats" / day
        folder.mkdir(parents=True)
        ROWS.assign(area=ROWS.area + shift).to_csv(folder / "part.csv", index=False)
    _, table = check(spark, tmp_path / "flats", tmp_path)
    assert len(by_id(table)) == 6
    (tmp_path / "flats" / "monday" / "part.csv").rename(tmp_path / "flats" / "first.csv")
    assert by_id(check(spark, tmp_path / "flats", tmp_path)[1]) == by_id(table)


def test_a_file_that_has_ids_keeps_them(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "flats.csv"
    ROWS.assign(flat=["a", "b", ""]).to_csv(path, index=False)
    found, table = check(spark, path, tmp_path)
    assert table["flat"].to_pylist() == ["a", "b"]
    assert found.reasons == {"flat: missing": 1}


def test_a_bad_row_is_quarantined_and_the_others_keep_their_numbers(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "flats.csv"
    ROWS.astype({"area": object}).assign(area=["50", "large", "60"]).to_csv(path, index=False)
    found, table = check(spark, path, tmp_path)
    assert found.reasons == {"area: not a number": 1}
    assert [id_.partition("-")[2] for id_ in by_id(table)] == ["1", "3"]
