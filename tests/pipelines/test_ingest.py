"""Deliveries that are merged into the event table, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.errors import ConfigError, InputError
from mlops.schema import Column, EventSchema, Label
from mlops.storage import read_json
from mlops.tables import EventTable, day_folder, read_batches, read_event_table
from pipelines.validate import ValidateResult, validate

SCHEMA = EventSchema(
    id="id",
    time="at",
    columns=(
        Column(name="id", type="id"),
        Column(name="at", type="timestamp"),
        Column(name="day", type="id"),  # as the folders of a table by day are called
        Column(name="amount", type="decimal", decimals=2, minimum=0),
        Column(name="note", type="text", nullable=True),
        Column(name="fraud", type="boolean", nullable=True),
    ),
)
LABEL = Label(column="fraud", delay_days=7)
START = datetime(2024, 3, 1, 12)
Row = dict[str, Any]
Ingest = Callable[..., ValidateResult]


def event(number: int | str, day: int = 0, **changes: Any) -> Row:
    row = {
        "id": number,
        "at": START + timedelta(days=day, minutes=int(number)),
        "day": 7,
        "amount": 1.5,
        "note": None,
        "fraud": False,
    }
    return {**row, **changes}


def deliver(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    types = {"note": pa.string(), "fraud": pa.bool_(), "at": pa.timestamp("us"), "amount": pa.float64()}
    texts = [name for name in ("id", "day") if any(isinstance(row.get(name), str) for row in rows)]
    rows = [{**row, **{name: str(row[name]) for name in texts}} for row in rows]
    names = dict.fromkeys(name for row in rows for name in row)
    kinds = {"id": pa.int64(), "day": pa.int64(), **types, **dict.fromkeys(texts, pa.string())}
    pq.write_table(
        pa.Table.from_pylist(rows, pa.schema([(n, kinds.get(n, pa.int64())) for n in names])), path
    )
    return path


def table_of(home: Path) -> EventTable:
    return read_event_table(home / "events")


def rows_of(home: Path) -> list[Row]:
    return pq.read_table(home / "events", partitioning=None).sort_by("id").to_pylist()


def quarantined(home: Path) -> list[Row]:
    return pq.read_table(home / "quarantine").to_pylist()


def changed_days(before: EventTable, after: EventTable) -> list[str]:
    return sorted(day for day, part in after.days.items() if before.days.get(day) != part)


def files_of(home: Path) -> dict[str, int]:
    """The table's files by day, as the file system knows them."""
    return {path.parent.name: path.stat().st_ino for path in (home / "events").rglob("*.parquet")}


def accounted_for(home: Path) -> None:
    """Over all batches: in = good + quarantined + duplicates; what is good is an event, or the label of one."""
    batches, table = read_batches(home / "events"), table_of(home)
    for batch in batches:
        assert batch.rows_in == batch.good + batch.quarantined + batch.duplicates
    assert sum(b.good - b.labels for b in batches) == table.rows == len(rows_of(home))
    assert table.rows == sum(part.rows for part in table.days.values())
    bad = quarantined(home)
    assert sum(b.quarantined for b in batches) == len(bad)
    assert {row["batch"] for row in bad} == {b.id for b in batches if b.quarantined}


@pytest.fixture
def ingest(spark: SparkSession, tmp_path: Path) -> Ingest:
    """Merge files into `tmp_path`/home, where every row must be accounted for."""

    def run(
        source: Path,
        *,
        home: str = "home",
        schema: EventSchema = SCHEMA,
        merge: bool = True,
        report: Path | None = None,
    ) -> ValidateResult:
        folder = tmp_path / home
        result = validate(
            spark, source, folder / "events", folder / "quarantine", schema, LABEL, merge=merge, report=report
        )
        assert result.rows_in == result.good + result.quarantined + result.duplicates
        accounted_for(folder)
        return result

    return run


def said(result: ValidateResult) -> Mapping[str, int]:
    numbers = {
        name: getattr(result, name) for name in ("good", "labels", "duplicates", "quarantined", "passed_over")
    }
    return {name: number for name, number in numbers.items() if number}


def test_a_first_delivery_is_the_table_that_validation_writes(ingest: Ingest, tmp_path: Path) -> None:
    source = deliver(tmp_path / "in.parquet", [event(1), event(2, 1), event(3, 1), event(4, amount=-1.0)])
    ingest(source)
    ingest(source, home="other", merge=False)
    assert table_of(tmp_path / "home") == table_of(tmp_path / "other")
    days = table_of(tmp_path / "home").days
    assert {day: part.rows for day, part in days.items()} == {"2024-03-01": 1, "2024-03-02": 2}
    assert rows_of(tmp_path / "home")[0]["day"] == 7


def test_one_delivery_or_many_in_any_order_make_one_table(ingest: Ingest, tmp_path: Path) -> None:
    rows = [event(n, day=n % 4, fraud=[None, True, False][n % 3]) for n in range(40)]
    ingest(deliver(tmp_path / "all.parquet", rows), home="whole")
    for part in (2, 0, 3, 1):
        ingest(deliver(tmp_path / "parts" / f"{part}.parquet", rows[part::4] + rows[part::8]))
    assert table_of(tmp_path / "home") == table_of(tmp_path / "whole")
    assert rows_of(tmp_path / "home") == rows_of(tmp_path / "whole")
    for day in table_of(tmp_path / "home").days:
        (file,) = day_folder(tmp_path / "home" / "events", day).iterdir()
        order = [(row["at"], row["id"]) for row in pq.read_table(file, partitioning=None).to_pylist()]
        assert order == sorted(order)


def test_doing_it_again_changes_nothing(ingest: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    deliver(folder / "1.parquet", [event(1), event(1), event(2, amount=-1.0)])
    ingest(folder)
    first = (
        table_of(tmp_path / "home"),
        read_batches(tmp_path / "home" / "events"),
        quarantined(tmp_path / "home"),
    )
    report = tmp_path / "validation.json"  # as of a process that was killed before it wrote one
    again = ingest(folder, report=report)
    assert said(again) == {"passed_over": 1}
    assert read_json(report, ValidateResult) == again
    (folder / "1.parquet").rename(folder / "renamed.parquet")
    assert said(ingest(folder)) == {"passed_over": 1}
    assert first == (
        table_of(tmp_path / "home"),
        read_batches(tmp_path / "home" / "events"),
        quarantined(tmp_path / "home"),
    )
    deliver(folder / "2.parquet", [event(3, 1), event(4, amount=-1.0)])
    result = ingest(folder)
    assert said(result) == {"good": 1, "quarantined": 1, "passed_over": 1}
    assert len(quarantined(tmp_path / "home")) == 2


def test_rows_that_are_there_are_duplicates_and_those_that_contradict_are_quarantined(
    ingest: Ingest, tmp_path: Path
) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(1, note="é"), event(2), event(3, 1)]))
    before = table_of(tmp_path / "home")
    again = [
        event(1, note="é"),
        event(1),  # lacks the note
        event(2, 5),  # another day
        event(2, 5),
        event(3, 1, fraud=None),
        event(3, 1, fraud=True),
        event(3, 1, amount=9.0),
    ]
    result = ingest(deliver(tmp_path / "2.parquet", again))
    assert said(result) == {"duplicates": 3, "quarantined": 4}
    assert result.reasons == {"fraud: another than before": 1, "id: used before for another event": 3}
    assert table_of(tmp_path / "home") == before
    shown = [json.loads(row["row"]) for row in quarantined(tmp_path / "home")]
    assert sorted((row["id"], row["amount"]) for row in shown) == [(1, 1.5), (2, 1.5), (3, 1.5), (3, 9.0)]


def test_a_label_that_comes_later_becomes_the_events(ingest: Ingest, tmp_path: Path) -> None:
    ingest(
        deliver(
            tmp_path / "1.parquet", [event(1, fraud=None), event(2, 1, fraud=None), event(3, 2, fraud=None)]
        )
    )
    before, files = table_of(tmp_path / "home"), files_of(tmp_path / "home")
    labels = [event(1, fraud=True), event(1, fraud=True), event(1, fraud=False), event(2, 1, fraud=None)]
    result = ingest(deliver(tmp_path / "2.parquet", labels))
    assert (said(result), result.reasons) == (
        {"good": 1, "labels": 1, "duplicates": 2, "quarantined": 1},
        {"fraud: another than before": 1},
    )
    # False sorts before True, and the first one is the label.
    assert [row["fraud"] for row in rows_of(tmp_path / "home")] == [False, None, None]
    after = table_of(tmp_path / "home")
    assert changed_days(before, after) == ["2024-03-01"]
    assert after.rows == 3
    kept = files_of(tmp_path / "home")
    assert {day for day in files if files[day] == kept[day]} == {"day=2024-03-02", "day=2024-03-03"}


def test_late_rows_land_in_their_day_and_other_days_files_stay(ingest: Ingest, tmp_path: Path) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(n, day) for n, day in enumerate((0, 1, 2, 2))]))
    before, files = table_of(tmp_path / "home"), files_of(tmp_path / "home")
    ingest(deliver(tmp_path / "2.parquet", [event(10, 1), event(11, 3), event(12, -1)]))
    after, kept = table_of(tmp_path / "home"), files_of(tmp_path / "home")
    assert changed_days(before, after) == ["2024-02-29", "2024-03-02", "2024-03-04"]
    assert {day for day in files if files[day] == kept[day]} == {"day=2024-03-01", "day=2024-03-03"}
    assert (after.first_event[:10], after.last_event[:10]) == ("2024-02-29", "2024-03-04")
    second = pq.read_table(day_folder(tmp_path / "home" / "events", "2024-03-02"), partitioning=None)
    assert second["id"].to_pylist() == [1, 10]


def test_ids_become_text_where_a_later_one_is_no_number(ingest: Ingest, tmp_path: Path) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(7), event(8, 1)]))
    ingest(deliver(tmp_path / "2.parquet", [event("007", 2), event("7"), event("8", 1, amount=2.0)]))
    table = table_of(tmp_path / "home")
    assert (table.rows, table.whole_number_ids) == (3, ("day",))
    assert [row["id"] for row in rows_of(tmp_path / "home")] == ["007", "7", "8"]
    batch = read_batches(tmp_path / "home" / "events")[1]
    assert (batch.good, batch.duplicates, batch.quarantined) == (1, 1, 1)
    assert said(ingest(deliver(tmp_path / "3.parquet", [event(8, 1), event(9, 1)]))) == {
        "good": 1,
        "duplicates": 1,
    }
    assert [row["id"] for row in rows_of(tmp_path / "home")] == ["007", "7", "8", "9"]


def test_replacing_forgets_the_batches_before(ingest: Ingest, tmp_path: Path) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(1), event(2, amount=-1.0)]))
    second = deliver(tmp_path / "2.parquet", [event(3), event(4, amount=-1.0)])
    ingest(second, merge=False)
    assert [row["id"] for row in rows_of(tmp_path / "home")] == [3]
    assert len(read_batches(tmp_path / "home" / "events")) == 1
    assert said(ingest(second)) == {"passed_over": 1}


def test_a_column_that_is_new_is_null_in_history_and_one_that_is_gone_is_dropped(
    ingest: Ingest, tmp_path: Path
) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(1, note="a"), event(2, 1)]))
    columns = (
        *(c for c in SCHEMA.columns if c.name != "note"),
        Column(name="items", type="integer", nullable=True, optional=True),
    )
    changed = EventSchema(id="id", time="at", columns=columns)
    later = [{**event(3, 1), "items": 5}, {**event(1), "items": 6}]
    ingest(deliver(tmp_path / "2.parquet", later), schema=changed)
    rows = rows_of(tmp_path / "home")
    assert [(row["id"], row.get("note", "none"), row["items"]) for row in rows] == [
        (1, "none", None),
        (2, "none", None),
        (3, "none", 5),
    ]
    assert table_of(tmp_path / "home").days["2024-03-01"].rows == 1


def test_a_column_that_history_cannot_have_is_refused(ingest: Ingest, tmp_path: Path) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(1)]))
    before = table_of(tmp_path / "home")
    source = deliver(tmp_path / "2.parquet", [{**event(2), "items": 5}])
    needed = EventSchema(id="id", time="at", columns=(*SCHEMA.columns, Column(name="items", type="integer")))
    with pytest.raises(ConfigError, match="no column items, which must have a value"):
        ingest(source, schema=needed)
    other = tuple(Column(name="amount", type="boolean") if c.name == "amount" else c for c in SCHEMA.columns)
    flags = deliver(tmp_path / "3.parquet", [event(2, amount=1.0)])
    with pytest.raises(ConfigError, match="column amount is double, and now boolean"):
        ingest(flags, schema=EventSchema(id="id", time="at", columns=other))
    assert table_of(tmp_path / "home") == before
    accounted_for(tmp_path / "home")


def test_a_file_that_is_refused_leaves_the_table_and_the_quarantine_as_they_were(
    ingest: Ingest, tmp_path: Path
) -> None:
    ingest(deliver(tmp_path / "1.parquet", [event(1), event(2, amount=-1.0)]))
    before = table_of(tmp_path / "home")
    with pytest.raises(InputError, match="not one good row"):
        ingest(deliver(tmp_path / "2.parquet", [event(3, amount=-1.0)]))
    assert table_of(tmp_path / "home") == before
    accounted_for(tmp_path / "home")


def test_events_without_a_time_are_one_part(spark: SparkSession, tmp_path: Path) -> None:
    columns = tuple(c for c in SCHEMA.columns if c.name != "at")
    schema, label = EventSchema(id="id", columns=columns), Label(column="fraud")
    home = tmp_path / "home"
    for number, rows in enumerate(
        ([event(1), event(2, fraud=None)], [event(2), event(3), event(1, amount=2.0)])
    ):
        bare = [{name: value for name, value in row.items() if name != "at"} for row in rows]
        source = deliver(tmp_path / f"{number}.parquet", bare)
        validate(spark, source, home / "events", home / "quarantine", schema, label, merge=True)
    table = table_of(home)
    assert {day: part.rows for day, part in table.days.items()} == {"none": 3}
    assert (table.first_event, table.last_event) == ("", "")
    assert [row["fraud"] for row in rows_of(home)] == [False, False, False]
    accounted_for(home)
