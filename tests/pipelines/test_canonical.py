"""Event files without Spark: what validation would have made of their good rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.errors import InputError
from pipelines.canonical import read_events
from pipelines.validate import validate

USE_CASE = load_use_case("usecases.fraud")
TIMES = ["2018-04-01 00:00:31", "2018-04-01 00:02:10.123456", "1969-12-31 23:59:59.999999"]
ROWS = pd.DataFrame(
    {
        "TRANSACTION_ID": [1, 20, 3],
        "TX_DATETIME": pd.to_datetime(TIMES, format="ISO8601"),
        "CUSTOMER_ID": [596, 4961, 2],
        "TERMINAL_ID": [3156, 3412, 1365],
        "TX_AMOUNT": [57.16, 81.51, 146.0],
        "TX_FRAUD": [0, 1, 0],
        "TX_FRAUD_SCENARIO": [0, 1, 0],
    }
)
CANONICAL = pa.table(
    {
        "transaction_id": [1, 20, 3],
        "event_time": pa.array([datetime.fromisoformat(text) for text in TIMES], pa.timestamp("us")),
        "customer_id": [596, 4961, 2],
        "terminal_id": [3156, 3412, 1365],
        "amount": [57.16, 81.51, 146.0],
        "is_fraud": [False, True, False],
        "scenario": [0, 1, 0],
        "region": pa.nulls(3, pa.string()),
    }
)


def read(*sources: Path) -> pa.Table:
    return read_events(sources, USE_CASE.events, USE_CASE.label)


def _nanoseconds(path: Path) -> None:
    times = ROWS.TX_DATETIME.astype("datetime64[ns]") + pd.Timedelta(nanoseconds=789)
    pq.write_table(pa.Table.from_pandas(ROWS.assign(TX_DATETIME=times), preserve_index=False), path)


def _zoned(path: Path) -> None:
    times = ROWS.TX_DATETIME.dt.tz_localize("UTC").dt.tz_convert("Asia/Kolkata")
    ROWS.assign(TX_DATETIME=times).to_parquet(path)


def _text(path: Path) -> None:
    ROWS.astype(str).to_parquet(path)


def _floats(path: Path) -> None:
    ROWS.assign(CUSTOMER_ID=ROWS.CUSTOMER_ID.astype(float), TX_FRAUD=ROWS.TX_FRAUD == 1).to_parquet(path)


def _categories(path: Path) -> None:
    ROWS.astype({"TERMINAL_ID": "category", "TX_AMOUNT": "float32"}).assign(
        TX_AMOUNT=ROWS.TX_AMOUNT
    ).to_parquet(path)


def _semicolons(path: Path) -> None:
    ROWS.assign(TERMINAL_ID=ROWS.TERMINAL_ID.astype(float)).to_csv(path, sep=";", index=False)


def _quoted(path: Path) -> None:
    ROWS.assign(TX_FRAUD=["false", "True", " 0 "]).to_csv(path, index=False, quoting=1)


def _offsets(path: Path) -> None:
    times = [(datetime.fromisoformat(text).isoformat() + "Z") for text in TIMES[:1]]
    times += ["2018-04-01T02:02:10.123456+02:00", "1969-12-31T19:59:59.999999-0400"]
    ROWS.assign(TX_DATETIME=times).to_csv(path, index=False)


def _packed(path: Path) -> None:
    ROWS.to_csv(path.with_suffix(".csv.gz"), index=False)


def _with_a_column_more(path: Path) -> None:
    pq.write_table(CANONICAL.append_column("note", pa.array(["a", "b", "c"])), path)


WRITERS = [
    _nanoseconds, _zoned, _text, _floats, _categories, _semicolons, _quoted, _offsets, _packed, _with_a_column_more
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
def test_the_events_of_any_file_are_canonical(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "events")
    assert read(tmp_path).equals(CANONICAL)


def test_a_folder_reads_as_validation_reads_it(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    (folder / "more").mkdir(parents=True)
    recent = ROWS.assign(TX_DATETIME=ROWS.TX_DATETIME + pd.Timedelta(days=20_000))
    for number, (write, part) in enumerate(
        [(pd.DataFrame.to_parquet, folder / "a"), (pd.DataFrame.to_csv, folder / "more" / "b")]
    ):
        ids = recent.TRANSACTION_ID + 100 * number
        write(recent.assign(TRANSACTION_ID=ids, CUSTOMER_ID=[7, 8, "c9"] if number else 7), part, index=False)
    validate(spark, folder, tmp_path / "events", tmp_path / "bad", USE_CASE.events, USE_CASE.label)
    validated = pq.read_table(tmp_path / "events", partitioning=None).sort_by("transaction_id")
    assert validated.num_rows == 6
    assert read(folder).sort_by("transaction_id").to_pylist() == [
        {**row, "event_time": row["event_time"].replace(tzinfo=None)} for row in validated.to_pylist()
    ]


def test_without_a_label_column_no_label_is_known(tmp_path: Path) -> None:
    ROWS.drop(columns="TX_FRAUD").to_csv(tmp_path / "events.csv", index=False)
    table = read(tmp_path / "events.csv")
    assert table.column_names == CANONICAL.column_names
    assert table["is_fraud"].to_pylist() == [None] * 3


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    gaps = ROWS.astype(object)
    for column in ("TX_DATETIME", "CUSTOMER_ID", "TX_AMOUNT", "TX_FRAUD"):
        gaps.loc[1, column] = None
    gaps.to_csv(tmp_path / "events.csv", index=False)
    expected = {
        **CANONICAL.to_pylist()[1],
        **dict.fromkeys(["event_time", "customer_id", "amount", "is_fraud"]),
    }
    assert read(tmp_path).to_pylist()[1] == expected


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("TX_AMOUNT", "dear", "column TX_AMOUNT: .*'dear'"),
        ("TX_DATETIME", "yesterday", "column TX_DATETIME: .*'yesterday'"),
        ("TX_FRAUD", "2", "column TX_FRAUD: 2 is neither true nor false"),
    ],
)
@pytest.mark.parametrize("write", [pd.DataFrame.to_parquet, pd.DataFrame.to_csv], ids=["parquet", "csv"])
def test_a_value_that_cannot_be_read_is_shown(
    tmp_path: Path, write: Callable[..., None], column: str, value: str, said: str
) -> None:
    rows = ROWS.astype(str)
    rows.loc[2, column] = value
    write(rows, tmp_path / "events", index=False)
    with pytest.raises(InputError, match=f"{said}.*mlops validate"):
        read(tmp_path / "events")


def test_a_line_with_a_field_more_is_shown(tmp_path: Path) -> None:
    text = ROWS.to_csv(index=False) + "4,2018-04-02,1,1,1.0,0,0,more\n"
    (tmp_path / "events.csv").write_text(text)
    with pytest.raises(InputError, match=r"events\.csv: cannot be read: .*Expected 7 columns, got 8"):
        read(tmp_path)


def test_pages_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pandas(ROWS), path, compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[40:120] = b"\xff" * 80
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"events\.parquet: cannot be read"):
        read(path)
