"""Validation: every row accounted for, whatever the files look like."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.tables import read_event_table
from pipelines.validate import ValidateResult, validate

USE_CASE = load_use_case("usecases.fraud")
START = datetime(2018, 4, 1, 8, 30)
Row = Mapping[str, Any]
Validate = Callable[..., ValidateResult]


def payment(number: int, **changes: Any) -> dict[str, Any]:
    """A payment in the published layout."""
    row = {
        "TRANSACTION_ID": number,
        "TX_DATETIME": START + timedelta(minutes=number),
        "CUSTOMER_ID": number % 3,
        "TERMINAL_ID": 10 + number,
        "TX_AMOUNT": 10.5 + number,
        "TX_FRAUD": number % 2,
        "TX_FRAUD_SCENARIO": 0,
    }
    return {**row, **changes}


def write_parquet(path: Path, rows: Sequence[Row], schema: pa.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    return path


def write_csv(path: Path, rows: Sequence[Row], sep: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(list(rows)).to_csv(path, sep=sep, index=False)
    return path


@pytest.fixture
def check(spark: SparkSession, tmp_path: Path) -> Validate:
    """Validate into `tmp_path`/events and `tmp_path`/quarantine; rows must be conserved."""

    def run(source: Path) -> ValidateResult:
        target, quarantine = tmp_path / "events", tmp_path / "quarantine"
        result = validate(spark, source, target, quarantine, USE_CASE.events, USE_CASE.label)
        assert result.rows_in == result.good + result.quarantined + result.duplicates
        assert result.good == pq.read_table(target).num_rows == read_event_table(target).rows
        assert result.quarantined == pq.read_table(quarantine).num_rows == sum(result.reasons.values())
        return result

    return run


def events(tmp_path: Path) -> list[dict[str, Any]]:
    return pq.read_table(tmp_path / "events", partitioning=None).sort_by("event_time").to_pylist()


def test_published_layout_becomes_canonical(check: Validate, tmp_path: Path) -> None:
    result = check(write_parquet(tmp_path / "in.parquet", [payment(2), payment(1)]))
    assert (result.good, result.layout) == (2, "handbook")
    assert events(tmp_path)[0] == {
        "transaction_id": 1,
        "event_time": (START + timedelta(minutes=1)).replace(tzinfo=UTC),
        "customer_id": 1,
        "terminal_id": 11,
        "amount": 11.5,
        "is_fraud": True,
        "scenario": 0,
        "region": None,
    }
    assert pq.read_schema(next((tmp_path / "events").rglob("*.parquet"))).field(
        "event_time"
    ).type == pa.timestamp("us", "UTC")
    table = read_event_table(tmp_path / "events")
    assert table.whole_number_ids == ("transaction_id", "customer_id", "terminal_id")
    assert datetime.fromisoformat(table.first_event) == (START + timedelta(minutes=1)).replace(tzinfo=UTC)
    assert datetime.fromisoformat(table.last_event) == (START + timedelta(minutes=2)).replace(tzinfo=UTC)


def test_a_folder_may_mix_types_formats_and_delimiters(check: Validate, tmp_path: Path) -> None:
    folder = tmp_path / "a folder [1] {x}"
    frame = pd.DataFrame([payment(1), payment(2)])
    folder.mkdir()
    frame.astype({"TX_DATETIME": "datetime64[ns]", "CUSTOMER_ID": "float64"}).to_parquet(
        folder / "ns.parquet"
    )
    text = frame.assign(TRANSACTION_ID=["3", "4"], TX_DATETIME=["2018-04-01", "2018-04-01T00:00:01.5+01:00"])
    text.astype(str).to_parquet(folder / "text.parquet")
    write_csv(folder / "deep" / "semicolon.csv", [payment(5), payment(6, TX_FRAUD=None)], sep=";")
    write_csv(folder / "tab.csv.gz", [payment(7, CUSTOMER_ID=1.0, TX_FRAUD="true")], sep="\t")
    canonical = {"transaction_id": 8, "event_time": START, "customer_id": 1, "terminal_id": 1, "amount": 3}
    write_csv(folder / "day 8.csv", [canonical])
    pq.write_table(
        pa.Table.from_pandas(frame.assign(TRANSACTION_ID=[9, 10])),
        folder / "old.parquet",
        use_deprecated_int96_timestamps=True,
    )
    for ignored in ("_SUCCESS", ".hidden", ".tmp-half-written"):
        (folder / ignored).write_text("not events")

    result = check(folder)
    assert (result.rows_in, result.good, result.reasons) == (10, 10, {})
    assert result.layout == "canonical and handbook"
    table = {row["transaction_id"]: row for row in events(tmp_path)}
    assert sorted(table) == list(range(1, 11))
    assert (
        table[1]["event_time"] == table[9]["event_time"] == (START + timedelta(minutes=1)).replace(tzinfo=UTC)
    )
    assert table[3]["event_time"] == datetime(2018, 4, 1, tzinfo=UTC)
    assert table[4]["event_time"] == datetime(2018, 3, 31, 23, 0, 1, 500_000, tzinfo=UTC)
    assert [table[n]["is_fraud"] for n in (5, 6, 7, 8)] == [True, None, True, None]
    assert {row["customer_id"] for row in table.values()} == {0, 1, 2}


def test_nanoseconds_are_rounded_down_before_1970_too(check: Validate, tmp_path: Path) -> None:
    times = pa.array([1_522_570_000_123_456_789, -1], pa.timestamp("ns"))
    rows = pa.Table.from_pylist([payment(1), payment(2)])
    rows = rows.set_column(1, "TX_DATETIME", times)
    pq.write_table(rows, tmp_path / "in.parquet")
    result = check(tmp_path / "in.parquet")
    assert result.reasons == {"event_time: below 2000-01-01": 1}
    assert events(tmp_path)[0]["event_time"] == datetime(2018, 4, 1, 8, 6, 40, 123_456, tzinfo=UTC)
    bad = pq.read_table(tmp_path / "quarantine").to_pylist()[0]
    assert json.loads(bad["row"])["TX_DATETIME"].startswith("1969-12-31T23:59:59.999999")


def test_ids_stay_text_where_one_of_the_column_is_no_number(check: Validate, tmp_path: Path) -> None:
    rows = [payment(n, CUSTOMER_ID=f"{n:03}", TERMINAL_ID=f"{n}", TRANSACTION_ID=f"{n}") for n in range(3)]
    check(
        write_parquet(
            tmp_path / "in.parquet",
            [*rows, payment(3, CUSTOMER_ID="7", TERMINAL_ID="-3", TRANSACTION_ID="3")],
        )
    )
    assert read_event_table(tmp_path / "events").whole_number_ids == ("transaction_id", "terminal_id")
    assert {row["customer_id"] for row in events(tmp_path)} == {"000", "001", "002", "7"}
    assert {row["terminal_id"] for row in events(tmp_path)} == {0, 1, 2, -3}


@pytest.mark.parametrize("other", ["c7", "1e3", "99999999999999999999"])
def test_an_id_that_is_no_whole_number_makes_its_column_text(
    check: Validate, tmp_path: Path, other: str
) -> None:
    check(write_csv(tmp_path / "in.csv", [payment(1, CUSTOMER_ID=other), payment(2, CUSTOMER_ID=7)]))
    assert read_event_table(tmp_path / "events").whole_number_ids == ("transaction_id", "terminal_id")
    assert [row["customer_id"] for row in events(tmp_path)] == [other, "7"]


def test_a_bad_row_does_not_decide_whether_ids_are_numbers(check: Validate, tmp_path: Path) -> None:
    rows = [payment(1, CUSTOMER_ID="1"), payment(2, CUSTOMER_ID="x", TX_AMOUNT=-1.0)]
    check(write_parquet(tmp_path / "in.parquet", rows))
    assert "customer_id" in read_event_table(tmp_path / "events").whole_number_ids


def test_rows_that_do_not_fit_are_quarantined_with_the_reason(check: Validate, tmp_path: Path) -> None:
    rows = [
        payment(0),
        payment(1, TX_AMOUNT="-0.01"),
        payment(2, TX_AMOUNT=""),
        payment(3, TX_AMOUNT="12 euros"),
        payment(4, TX_AMOUNT="1000000.01"),
        payment(5, TX_AMOUNT="NaN "),
        payment(6, CUSTOMER_ID=None),
        payment(7, TX_DATETIME="yesterday"),
        payment(8, TX_DATETIME="2018-02-30 12:00:00"),
        payment(9, TX_DATETIME="12:30"),
        payment(10, TX_FRAUD="2"),
        payment(11, TX_AMOUNT="1d"),
    ]
    source = write_csv(tmp_path / "in.csv", rows)
    with source.open("a") as file:
        file.write("12,2018-04-01 09:00:00,1\n13,2018-04-01 09:00:00,1,2,3.5,0,0,one too many\n")
    result = check(source)
    assert result.good == 1
    assert result.reasons == {
        "amount: above 1000000": 1,
        "amount: below 0": 1,
        "amount: missing": 1,
        "amount: not a number": 3,
        "customer_id: missing": 1,
        "event_time: not a time": 3,
        "is_fraud: neither true nor false": 1,
        "row: more or fewer fields than the header": 2,
    }
    bad = {row["reason"]: row for row in pq.read_table(tmp_path / "quarantine").to_pylist()}
    assert json.loads(bad["amount: below 0"]["row"])["TX_AMOUNT"] == "-0.01"
    assert bad["amount: below 0"]["source"] == "in.csv"


def test_numbers_that_are_not_finite_are_quarantined(check: Validate, tmp_path: Path) -> None:
    rows = [payment(0), payment(1, TX_AMOUNT=math.nan), payment(2, TX_AMOUNT=math.inf)]
    assert check(write_parquet(tmp_path / "in.parquet", rows)).reasons == {"amount: not finite": 2}


def test_amounts_are_rounded_to_their_decimals_half_to_even(check: Validate, tmp_path: Path) -> None:
    amounts = [0.125, 0.375, 57.164999, -0.0]
    check(write_parquet(tmp_path / "in.parquet", [payment(n, TX_AMOUNT=a) for n, a in enumerate(amounts)]))
    kept = [row["amount"] for row in events(tmp_path)]
    assert kept == [0.12, 0.38, 57.16, 0.0]
    assert math.copysign(1, kept[3]) == 1


def test_exact_duplicates_are_dropped_and_contradictions_quarantined(check: Validate, tmp_path: Path) -> None:
    later = START + timedelta(hours=5)
    write_parquet(tmp_path / "in" / "1.parquet", [payment(1), payment(2), payment(2, TX_DATETIME=later)])
    write_parquet(
        tmp_path / "in" / "2.parquet", [payment(2), payment(1, TX_AMOUNT=99.0), payment(3, TX_FRAUD=None)]
    )
    write_csv(tmp_path / "in" / "3.csv", [payment(1), payment(3)])
    result = check(tmp_path / "in")
    assert (result.rows_in, result.good, result.duplicates) == (8, 3, 3)
    assert result.reasons == {"transaction_id: used before for another event": 2}
    kept = {row["transaction_id"]: row for row in events(tmp_path)}
    assert kept[1]["amount"] == 11.5
    assert kept[2]["event_time"] == (START + timedelta(minutes=2)).replace(tzinfo=UTC)
    assert kept[3]["is_fraud"] is True  # the row without the label says nothing more
    rows = [json.loads(row["row"]) for row in pq.read_table(tmp_path / "quarantine").to_pylist()]
    assert sorted(row["amount"] for row in rows) == [12.5, 99.0]


def test_same_events_in_other_files_and_order_have_the_same_fingerprint(
    check: Validate, tmp_path: Path
) -> None:
    rows = [payment(n) for n in range(20)]
    check(write_parquet(tmp_path / "one.parquet", rows))
    first = read_event_table(tmp_path / "events")
    for day in range(4):
        write_csv(tmp_path / "days" / f"{day}.csv", rows[day::4][::-1])
    check(tmp_path / "days")
    assert read_event_table(tmp_path / "events") == first
    check(write_parquet(tmp_path / "other.parquet", [*rows[1:], payment(0, TX_FRAUD=None)]))
    assert read_event_table(tmp_path / "events").fingerprint != first.fingerprint


def test_the_event_table_is_sorted_by_time(check: Validate, tmp_path: Path) -> None:
    check(write_parquet(tmp_path / "in.parquet", [payment(n) for n in (5, 3, 9, 1, 7)]))
    files = sorted((tmp_path / "events").rglob("*.parquet"))
    times = [time for file in files for time in pq.read_table(file)["event_time"].to_pylist()]
    assert times == sorted(times)
    assert len(times) == 5
