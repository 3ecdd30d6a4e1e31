"""Kinds of broken file: each row ends as good, quarantined with reason, row and source, or as a duplicate."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.schema import Column, EventSchema
from pipelines.validate import ValidateResult, validate

FRAUD = load_use_case("usecases.fraud")
EVENTS: EventSchema = msgspec.structs.replace(
    FRAUD.events,
    columns=(
        *FRAUD.events.columns,
        Column(name="channel", type="text", nullable=True, values=("chip", "online")),
        Column(name="items", type="integer", nullable=True, minimum=1),
    ),
    layouts=(),
)
HEADER = (
    "transaction_id",
    "event_time",
    "customer_id",
    "terminal_id",
    "amount",
    "is_fraud",
    "channel",
    "items",
)
GOOD = "1,2018-04-01 10:00:00,7,3,10.50,0,chip,2\n2,2018-04-01 10:01:00,8,3,20.25,1,online,\n"


class Kind(msgspec.Struct, kw_only=True, frozen=True):
    """A broken file: the rows that it adds to two good ones, and what becomes of them."""

    text: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    count: int = 1
    reasons: dict[str, int] = {}
    good: int = 0
    duplicates: int = 0
    quarantined_has: str = ""


def payment(**changes: Any) -> dict[str, Any]:
    row = dict(zip(HEADER, (3, "2018-04-01 10:02:00", 9, 4, 30.0, False, "chip", 1), strict=True))
    return {**row, **changes}


KINDS = {
    "a line that breaks off": Kind(
        text="3,2018-04-01 10:02:00,9,4,3", reasons={"row: more or fewer fields than the header": 1},
        quarantined_has="10:02:00,9,4,3",
    ),
    "fields too many": Kind(
        text="3,2018-04-01 10:02:00,9,4,30.00,0,chip,1,surplus\n",
        reasons={"row: more or fewer fields than the header": 1}, quarantined_has="surplus",
    ),
    "a decimal comma": Kind(
        text='3,2018-04-01 10:02:00,9,4,"30,00",0,chip,1\n', reasons={"amount: not a number": 1},
        quarantined_has="30,00",
    ),
    "text in a column of numbers": Kind(
        text="3,2018-04-01 10:02:00,9,4,thirty,0,chip,1\n4,2018-04-01 10:02:00,9,4,3.0,0,chip,many\n", count=2,
        reasons={"amount: not a number": 1, "items: not a whole number": 1}, quarantined_has="thirty",
    ),
    "values missing": Kind(
        text="3,,9,4,30.00,0,chip,1\n4,2018-04-01 10:02:00,,4,30.00,0,chip,1\n5,2018-04-01 10:02:00,9,4,,0,chip,1\n",
        count=3, reasons={"event_time: missing": 1, "customer_id: missing": 1, "amount: missing": 1},
    ),
    "an id missing": Kind(
        text=" ,2018-04-01 10:02:00,9,4,30.00,0,chip,1\n", reasons={"transaction_id: missing": 1},
        quarantined_has="10:02:00",
    ),
    "values out of range": Kind(
        text="3,1999-12-31 23:59:59,9,4,30.00,0,chip,1\n4,2018-04-01 10:02:00,9,4,1000000.01,0,chip,1\n"
        "5,2018-04-01 10:02:00,9,4,30.00,0,chip,0\n", count=3,
        reasons={"event_time: below 2000-01-01": 1, "amount: above 1000000": 1, "items: below 1": 1},
    ),
    "negative and boundless amounts": Kind(
        rows=tuple(payment(transaction_id=n, amount=a) for n, a in enumerate(
            (-0.01, math.nan, math.inf, -math.inf, 1e300), 3)), count=5,
        reasons={"amount: below 0": 1, "amount: not finite": 3, "amount: above 1000000": 1},
    ),
    "a boolean that is neither": Kind(
        text="3,2018-04-01 10:02:00,9,4,30.00,maybe,chip,1\n4,2018-04-01 10:02:00,9,4,30.00,2,chip,1\n", count=2,
        reasons={"is_fraud: neither true nor false": 2}, quarantined_has="maybe",
    ),
    "times that are none": Kind(
        text="".join(f"{n},{t},9,4,30.00,0,chip,1\n" for n, t in enumerate(
            ("2018-02-30 10:00:00", "01/04/2018", "25:00", "1522576800", "2018-04-01T10:00:00+99:00"), 3)),
        count=5, reasons={"event_time: not a time": 5}, quarantined_has="2018-02-30",
    ),
    "a category that is not listed": Kind(
        text="3,2018-04-01 10:02:00,9,4,30.00,0,Chip,1\n", reasons={"channel: not one of chip, online": 1},
        quarantined_has="Chip",
    ),
    "the same rows again": Kind(text=GOOD + GOOD, count=4, duplicates=4),
    "the same id for another event": Kind(
        text="1,2018-04-01 10:00:00,7,3,99.00,0,chip,2\n",
        reasons={"transaction_id: used before for another event": 1}, quarantined_has="99.0",
    ),
    "a line break within quotation marks": Kind(
        text='3,2018-04-01 10:02:00,9,4,30.00,0,"chi\np",1\n', count=2,
        reasons={"row: more or fewer fields than the header": 2},
    ),
    "a quotation mark that nothing closes": Kind(
        text='3,2018-04-01 10:02:00,"9,4,30.00,0,chip,1\n', count=1,
        reasons={"row: more or fewer fields than the header": 1}, quarantined_has='\\"9',
    ),
    "everything quoted, with spaces around": Kind(
        text=' "3" , "2018-04-01 10:02:00" ,"9"," 4","30.00","0","chip"," 1 "\n', good=1,
    ),
    "the header again in the middle": Kind(
        text=",".join(HEADER) + "\n", reasons={"event_time: not a time": 1}, quarantined_has="transaction_id",
    ),
    "an id that is longer than a store can take": Kind(
        text=f"3,2018-04-01 10:02:00,{'c' * 237},4,30.00,0,chip,1\n4,2018-04-01 10:02:00,{'é' * 119},4,30,0,chip,1\n",
        count=2, good=1, reasons={"customer_id: longer than 237 bytes": 1},
    ),
    "no UTF-8": Kind(
        text="3,2018-04-01 10:02:00,M\udcfcller,4,30.00,0,chip,1\n", reasons={"customer_id: not UTF-8": 1},
    ),
    "blank lines and another line end": Kind(text="\r\n\r\n3,2018-04-01 10:02:00,9,4,30.00,0,chip,1\r\n\n", good=1),
}  # fmt: skip


def write(kind: Kind, path: Path, *, bom: bool = False) -> Path:
    if kind.rows:
        rows = [
            payment(**dict(zip(HEADER, _typed(line), strict=True))) for line in csv.reader(GOOD.splitlines())
        ]
        pq.write_table(pa.Table.from_pylist([*rows, *kind.rows]), path.with_suffix(".parquet"))
        return path.with_suffix(".parquet")
    text = ",".join(HEADER) + "\n" + GOOD + kind.text
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode(errors="surrogateescape"))
    return path


def _typed(line: list[str]) -> list[Any]:
    id_, time, customer, terminal, amount, fraud, channel, items = line
    return [
        int(id_),
        time,
        int(customer),
        int(terminal),
        float(amount),
        fraud == "1",
        channel,
        int(items or 1),
    ]


def check(spark: SparkSession, source: Path, home: Path) -> ValidateResult:
    """Validate into `home`; what is written must be what is said."""
    result = validate(spark, source, home / "events", home / "bad", EVENTS, FRAUD.label)
    assert result.rows_in == result.good + result.quarantined + result.duplicates
    assert result.good == pq.read_table(home / "events").num_rows
    bad = pq.read_table(home / "bad").to_pylist()
    assert {
        reason: sum(row["reason"] == reason for row in bad) for reason in result.reasons
    } == result.reasons
    assert result.quarantined == len(bad)
    assert all(json.loads(row["row"]) and (home / "in" / row["source"]).exists() for row in bad)
    return result


@pytest.mark.parametrize("name", KINDS)
def test_of_a_broken_file_every_row_is_accounted_for(spark: SparkSession, tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    (tmp_path / "in").mkdir()
    result = check(spark, write(kind, tmp_path / "in" / "broken.csv"), tmp_path)
    assert result.rows_in == 2 + kind.count
    assert (result.good, result.duplicates, result.reasons) == (2 + kind.good, kind.duplicates, kind.reasons)
    rows = [row["row"] for row in pq.read_table(tmp_path / "bad").to_pylist()]
    assert not kind.quarantined_has or any(kind.quarantined_has in row for row in rows), rows


def test_of_all_broken_files_together_every_row_is_accounted_for(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, kind in enumerate(KINDS.values()):
        write(kind, tmp_path / "in" / f"{number}.csv", bom=number % 2 == 0)
    result = check(spark, tmp_path / "in", tmp_path)
    assert result.rows_in == sum(2 + kind.count for kind in KINDS.values())
    said = {reason for kind in KINDS.values() for reason in kind.reasons}
    assert said <= set(result.reasons)
    assert set(result.examples) == set(result.reasons)


def test_files_of_one_name_are_told_apart_by_their_folders(spark: SparkSession, tmp_path: Path) -> None:
    kind = KINDS["a decimal comma"]
    for day in ("day 1+", "day 2"):
        (tmp_path / "in" / day).mkdir(parents=True)
        write(kind, tmp_path / "in" / day / "part.csv")
    result = check(spark, tmp_path / "in", tmp_path)
    assert (result.rows_in, result.good, result.duplicates) == (6, 2, 2)
    bad = pq.read_table(tmp_path / "bad").to_pylist()
    assert {row["source"] for row in bad} == {"day 1+/part.csv", "day 2/part.csv"}
