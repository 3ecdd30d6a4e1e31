"""Which layout a file has, and what one that is given with the files adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlops.layout import Layout
from mlops.schema import Column, EventSchema, Label
from pipelines.canonical import read_events
from pipelines.checks import check_rows
from pipelines.sources import event_files

LABEL = Label(column="churned")
SCHEMA = EventSchema(
    id="customer",
    columns=(
        Column(name="customer", type="id"),
        Column(name="age", type="integer", nullable=True),
        Column(name="spent", type="decimal", decimals=2, nullable=True),
        Column(name="churned", type="boolean", nullable=True),
    ),
    layouts=(
        Layout(name="shop", true=("Y",), false=("N",), missing=("?", "n/a"), decimal_comma=True),
        Layout(name="till", columns={"customer": "id"}),
    ),
)
SHOP = "customer;age;spent;churned\n1;31;1.234,50;Y\n2;?;n/a;N\n3;7;3;\n"
ROWS = [(1, 31, 1234.5, True), (2, None, None, False), (3, 7, 3.0, None)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.csv"


def rows(spark: SparkSession, file: Path, layout: Layout | None = None) -> list[tuple[Any, ...]]:
    """The rows as both readers read them."""
    table = read_events([file], SCHEMA, LABEL, layout)
    found = [tuple(row.values()) for row in table.to_pylist()]
    checked = check_rows(spark, event_files(file, SCHEMA, LABEL, layout=layout), SCHEMA, LABEL).rows
    by_spark = checked.select(*table.column_names).collect()
    assert sorted((int(row[0]), *row[1:]) for row in by_spark) == found
    return found


def test_a_layout_may_have_our_names_and_other_ways_to_write_values(spark: SparkSession, file: Path) -> None:
    file.write_text(SHOP)
    assert rows(spark, file) == ROWS


def test_what_is_said_with_the_files_is_added_to_what_the_schema_says(
    spark: SparkSession, file: Path
) -> None:
    file.write_text(SHOP.replace("n/a", "none").replace(";", "^"))
    given = Layout(name="given", separator="^", missing=("?", "none"))
    assert rows(spark, file, given) == ROWS


def test_the_names_of_the_columns_choose_among_the_layouts(file: Path) -> None:
    file.write_text("id,age,spent,churned\n1,31,1234.5,1\n")
    (files,) = event_files(file, SCHEMA, LABEL)
    assert files.layout.name == "till"
    assert read_events([file], SCHEMA, LABEL).to_pylist()[0]["spent"] == 1234.5
