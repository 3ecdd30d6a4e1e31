"""The server's logs become tables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.contract import load_use_case
from mlops.errors import InputError
from mlops.policy import DecisionLog
from mlops.records import Decision, LabelRecord
from mlops.tables import day_folder, read_event_table, total_fingerprint
from pipelines.collect import CollectResult, collect
from pipelines.compact import compact

USE_CASE = load_use_case("usecases.fraud")
NAMES = {"first": ("amount", "count"), "second": ("count", "mean")}


def decision(number: int | str, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "decision_id": f"d{number}",
        "event_id": number,
        "scored_at": "2026-01-01T00:00:00.000001+00:00",
        "event": {
            "transaction_id": number,
            "event_time": "2018-06-01T12:34:56",
            "customer_id": 12,
            "terminal_id": 3,
            "amount": 57,
        },
        "features": [57.0, 0.1],
        "score": 0.25,
        "decision": "approve",
        "version": "1",
        "bundle": "first",
    }
    return Decision(**fields | changes)


def log(folder: Path, name: str, *records: Decision | LabelRecord, torn: bytes = b"") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(msgspec.json.Encoder().encode_lines(records) + torn)


def run(folder: Path) -> CollectResult:
    parts = (folder / "events", folder / "labels", folder / "served")
    return collect(folder / "log", *parts, USE_CASE.events, USE_CASE.label, NAMES)


def test_decisions_become_events_and_served_rows(tmp_path: Path) -> None:
    log(
        tmp_path / "log",
        "decisions-1.jsonl",
        decision(2),
        decision(1, bundle="second", features=[3.0, 4.5], version="2"),
        torn=b'{"decision_id": "tor',
    )
    result = run(tmp_path)
    assert result == CollectResult(decisions=2, events=2, repeated=0, labels=0)
    moment = datetime(2018, 6, 1, 12, 34, 56, tzinfo=UTC)
    events = pq.read_table(tmp_path / "events", partitioning=None)
    assert events.to_pylist()[0] == {
        "transaction_id": 1,
        "event_time": moment,
        "customer_id": 12,
        "terminal_id": 3,
        "amount": 57.0,
        "is_fraud": None,
        "scenario": None,
        "region": None,
    }
    assert events.schema.field("is_fraud").type == pa.bool_()
    served = {row["transaction_id"]: row for row in pq.read_table(tmp_path / "served").to_pylist()}
    assert (served[1]["count"], served[1]["mean"], served[1]["version"]) == (3.0, 4.5, "2")
    assert (served[2]["amount"], served[2]["count"], served[2]["mean"]) == (57.0, 0.1, None)
    assert served[2]["scored_at"] == datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    assert not {"is_fraud", "scenario"} & set(served[2])
    table = read_event_table(tmp_path / "events")
    assert (table.rows, table.whole_number_ids) == (2, ("transaction_id", "customer_id", "terminal_id"))
    assert datetime.fromisoformat(table.first_event) == moment


def test_the_last_decision_about_an_event_counts_and_the_last_label(tmp_path: Path) -> None:
    log(tmp_path / "log", "decisions-1.jsonl", decision(1), decision(1, score=0.5))
    log(tmp_path / "log", "decisions-2.jsonl", decision(2), decision(1, score=0.75))
    known = "2018-06-08T00:00:00+00:00"
    labels = [LabelRecord(event_id=n, label=value, known_at=known) for n, value in ((1, 0), (9, 1), (1, 1))]
    log(tmp_path / "log", "labels-1.jsonl", *labels)
    assert run(tmp_path) == CollectResult(decisions=4, events=2, repeated=2, labels=2)
    served = pq.read_table(tmp_path / "served").to_pylist()
    assert {row["transaction_id"]: row["score"] for row in served} == {1: 0.75, 2: 0.25}
    rows = pq.read_table(tmp_path / "labels").to_pylist()
    assert {row["transaction_id"]: row["is_fraud"] for row in rows} == {1: True, 9: True}
    assert rows[0]["known_at"] == datetime(2018, 6, 8, tzinfo=UTC)


@pytest.mark.parametrize("archived", ["nothing", "the decisions", "all"])
@pytest.mark.parametrize(
    ("orphan_first", "marked"), [(True, False), (True, True), (False, True)],
    ids=["killed", "killed, and another started", "lost its locks"],
)  # fmt: skip
def test_what_was_acknowledged_counts_and_not_what_was_only_logged(
    tmp_path: Path, orphan_first: bool, marked: bool, archived: str
) -> None:
    moments = [f"2026-01-01T00:00:0{second}+00:00" for second in (1, 2)]
    orphan_at, answered_at = moments if orphan_first else reversed(moments)
    orphan = decision(1, decision_id="orphan", score=0.5, scored_at=orphan_at)
    answered = decision(1, decision_id="answered", score=0.75, scored_at=answered_at)
    folder, name = tmp_path / "log", "decisions-2026010{}T000000000000Z-{}.a.jsonl"
    log(folder, name.format(1, 1), answered, decision(2))
    log(folder, name.format(1, 2), orphan)
    if archived == "the decisions":
        _archive(folder)
    if marked:
        log(folder, name.format(2, 3), msgspec.structs.replace(orphan, void=True))
    if archived == "all":
        _archive(folder)
    assert run(tmp_path) == CollectResult(decisions=3, events=2, repeated=1, labels=0)
    served = pq.read_table(tmp_path / "served").to_pylist()
    assert {row["transaction_id"]: row["decision_id"] for row in served} == {1: "answered", 2: "d2"}


def _archive(folder: Path) -> None:
    policy = DecisionLog(keep_raw_days=3, keep_days=10, hash=())
    compact(folder, USE_CASE.events, USE_CASE.label, policy, None, today=date(2026, 1, 3))


def test_ids_are_text_where_one_is_no_whole_number(tmp_path: Path) -> None:
    event = {**decision("007").event, "customer_id": "12"}
    log(tmp_path / "log", "decisions-1.jsonl", decision("007", event=event), decision(8))
    run(tmp_path)
    events = pq.read_table(tmp_path / "events", partitioning=None)
    assert set(events["transaction_id"].to_pylist()) == {"007", "8"}
    assert events["customer_id"].to_pylist() == [12, 12]
    assert read_event_table(tmp_path / "events").whole_number_ids == ("customer_id", "terminal_id")
    assert (
        pq.read_schema(tmp_path / "labels" / "part-00000.parquet").field("transaction_id").type == pa.string()
    )


def test_events_lie_by_day(tmp_path: Path) -> None:
    moments = {1: "2018-06-02T00:00:00+00:00", 2: "2018-06-01T23:59:59+00:00", 3: "2018-06-02T00:00:00+00:00"}
    events = [decision(n, event={**decision(n).event, "event_time": at}) for n, at in moments.items()]
    log(tmp_path / "log", "decisions-1.jsonl", *events)
    run(tmp_path)
    table = read_event_table(tmp_path / "events")
    assert {day: part.rows for day, part in table.days.items()} == {"2018-06-01": 1, "2018-06-02": 2}
    assert table.fingerprint == total_fingerprint(table.days)
    second = pq.read_table(day_folder(tmp_path / "events", "2018-06-02"), partitioning=None)
    assert second["transaction_id"].to_pylist() == [1, 3]


def test_the_order_of_the_log_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    log(tmp_path / "log", "decisions-1.jsonl", *(decision(n) for n in range(5)))
    run(tmp_path)
    first = read_event_table(tmp_path / "events")
    log(tmp_path / "log", "decisions-1.jsonl", *(decision(n) for n in (4, 2)))
    log(tmp_path / "log", "decisions-2.jsonl", *(decision(n) for n in (3, 0, 1)))
    run(tmp_path)
    assert read_event_table(tmp_path / "events") == first


@pytest.mark.parametrize(
    ("records", "said"),
    [([], "no decision"), ([decision(1, bundle="other")], "bundle other are not known")],
)
def test_logs_that_cannot_be_tables_are_refused(tmp_path: Path, records: list[Decision], said: str) -> None:
    log(tmp_path / "log", "decisions-1.jsonl", *records)
    with pytest.raises(InputError, match=said):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
