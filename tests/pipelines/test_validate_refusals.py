"""Sources that are no events at all: one clear error, and nothing is written."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.errors import InputError
from pipelines.validate import validate

USE_CASE = load_use_case("usecases.fraud")
GOOD = pd.DataFrame(
    {
        "TRANSACTION_ID": [1, 2],
        "TX_DATETIME": pd.to_datetime(["2018-04-01 00:00:31", "2018-04-01 00:02:10"]),
        "CUSTOMER_ID": [596, 4961],
        "TERMINAL_ID": [3156, 3412],
        "TX_AMOUNT": [57.16, 81.51],
        "TX_FRAUD": [0, 0],
    }
)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _csv(frame: pd.DataFrame) -> Callable[[Path], object]:
    return lambda path: frame.to_csv(path, index=False)


def _parquet(frame: pd.DataFrame) -> Callable[[Path], object]:
    return lambda path: frame.to_parquet(path)


def _cut(path: Path) -> None:
    GOOD.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])


def _scrambled(path: Path) -> None:
    """A footer that is whole, and pages that are not."""
    pq.write_table(pa.Table.from_pandas(GOOD), path, compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[40:120] = b"\xff" * 80
    path.write_bytes(data)


def _cut_gzip(path: Path) -> None:
    lines = GOOD.to_csv(index=False).encode() + bytes(range(48, 58)) * 500_000
    path.write_bytes(gzip.compress(lines, 0)[:3_000_000])


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("absent.csv", lambda path: None, "no such file or folder"),
        ("folder", lambda path: path.mkdir(), "the folder holds no file"),
        pytest.param(
            "link.csv",
            lambda path: path.symlink_to("/proc/self/mem"),
            "cannot be read: Input/output error",
            marks=pytest.mark.linux,
        ),
        ("n" * 300, lambda path: None, "cannot be read: File name too long"),
        ("empty.csv", _bytes(b""), "the file is empty"),
        ("header.csv", _bytes(GOOD.head(0).to_csv(index=False).encode()), "no rows"),
        ("empty.parquet", _parquet(GOOD.head(0)), "no rows"),
        ("events.csv", _bytes(pickle.dumps(GOOD)), "a pickle is not read"),
        ("events.pkl", _bytes(b"whatever"), "a pickle is not read"),
        ("photo.csv", _bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "neither Parquet nor CSV"),
        ("book.xlsx", _bytes(b"PK\x03\x04" + bytes(100)), "neither Parquet nor CSV"),
        ("prose.csv", _bytes(b"Dear reader\nthis is not a table\n"), "neither Parquet nor CSV"),
        ("cut.parquet", _cut, "damaged"),
        ("scrambled.parquet", _scrambled, "damaged"),
        ("cut.csv.gz", _cut_gzip, "damaged"),
        ("gzip.csv", _bytes(gzip.compress(b"a,b\n1,2\n")), "name it .csv.gz"),
        ("amountless.csv", _csv(GOOD.drop(columns="TX_AMOUNT")), "no column TX_AMOUNT"),
        ("amountless.parquet", _parquet(GOOD.drop(columns="TX_AMOUNT")), "TRANSACTION_ID, TX_DATETIME, CUSTOMER_ID"),
        ("flag.parquet", _parquet(GOOD.assign(TX_AMOUNT=[True, False])), "column TX_AMOUNT is bool"),
        ("lists.parquet", _parquet(GOOD.assign(CUSTOMER_ID=[[1], [2]])), "column CUSTOMER_ID is list"),
        ("epoch.parquet", _parquet(GOOD.assign(TX_DATETIME=[1, 2])), "column TX_DATETIME is int64"),
        ("words.csv", _csv(GOOD.assign(TX_AMOUNT=["much", "little"])), "column TX_AMOUNT: every value is not a number"),
        ("words.parquet", _parquet(GOOD.assign(TX_FRAUD=["yes", None])), "column TX_FRAUD: every value"),
        ("bad.csv", _csv(GOOD.assign(TX_AMOUNT=[-1, -2])), "not one good row; most often amount: below 0 (2 rows)"),
    ],
)  # fmt: skip
def test_a_source_that_is_no_events_is_refused(
    spark: SparkSession, tmp_path: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    source, home = tmp_path / name, tmp_path / "home"
    write(source)
    with pytest.raises(InputError) as caught:
        validate(spark, source, home / "events", home / "quarantine", USE_CASE.events, USE_CASE.label)
    assert said in caught.value.line()
    assert name in caught.value.line()
    assert caught.value.exit_code == 2
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_a_missing_column_is_named_with_the_layouts_that_are_known(
    spark: SparkSession, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    GOOD.rename(columns={"TX_AMOUNT": "Amount"}).to_csv(source, index=False)
    with pytest.raises(InputError) as caught:
        validate(spark, source, tmp_path / "events", tmp_path / "bad", USE_CASE.events, USE_CASE.label)
    line = caught.value.line()
    assert "no column TX_AMOUNT (layout handbook)" in line
    assert "Amount" in line
    assert "canonical (transaction_id, event_time" in line
    assert "handbook (TRANSACTION_ID, TX_DATETIME" in line


def test_a_refused_source_leaves_an_earlier_table_alone(spark: SparkSession, tmp_path: Path) -> None:
    target = tmp_path / "events"
    GOOD.to_parquet(tmp_path / "in.parquet")
    validate(spark, tmp_path / "in.parquet", target, tmp_path / "bad", USE_CASE.events, USE_CASE.label)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    GOOD.assign(TX_AMOUNT=-1.0).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError):
        validate(spark, tmp_path / "in.parquet", target, tmp_path / "bad", USE_CASE.events, USE_CASE.label)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
