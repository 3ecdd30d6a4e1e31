"""What the server wrote becomes an archive: each row once, nobody's name in it, and not for ever."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import load_use_case
from mlops.errors import ConfigError, InputError
from mlops.policy import DecisionLog
from mlops.records import Decision, LabelRecord
from mlops.settings import Settings
from pipelines.archive import (
    ARCHIVE,
    logged_decisions,
    logged_labels,
    read_manifest,
    reading,
)
from pipelines.collect import CollectResult, collect
from pipelines.compact import CompactResult, compact
from pipelines.kernel import features_of
from pipelines.log_rows import decision_row, event_types
from pipelines.logs import compact_logs, pseudonyms_of
from pipelines.pseudonyms import KEY_FILE, Pseudonyms, pseudonymous_events, read_or_make_key
from serving.decisions import AppendLog, last_decisions
from tests.pipelines.histories import FEATURES, SCHEMA, arrow_table, histories, write_events

USE_CASE = load_use_case("usecases.fraud")
EVENTS, LABEL = USE_CASE.events, USE_CASE.label
POLICY = DecisionLog(keep_raw_days=3, keep_days=10, hash=("customer_id",))
KEY = bytes(range(32))
PSEUDONYMS = Pseudonyms(KEY, POLICY.hash)
TODAY = date(2026, 1, 3)


def decision(number: int | str, day: int = 1, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "decision_id": f"d{number}",
        "event_id": number,
        "scored_at": f"2026-01-{day:02d}T00:00:00.000001+00:00",
        "event": {
            "transaction_id": number,
            "event_time": "2018-06-01T12:34:56+00:00",
            "customer_id": 4711,
            "terminal_id": 3,
            "amount": 57.25,
        },
        "features": [57.25, 0.1],
        "score": 0.25,
        "decision": "approve",
        "version": "1",
        "bundle": "first",
        "caller": "shop",
    }
    return Decision(**fields | changes)


def label(number: int, value: int, day: int) -> LabelRecord:
    at = f"2026-01-{day:02d}T00:00:00+00:00"
    return LabelRecord(event_id=number, label=value, known_at="2018-06-08T00:00:00+00:00", received_at=at)


def log(folder: Path, name: str, *records: msgspec.Struct, torn: bytes = b"") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(msgspec.json.Encoder().encode_lines(records) + torn)


def run(folder: Path, *, today: date = TODAY, policy: DecisionLog = POLICY) -> CompactResult:
    return compact(folder, EVENTS, LABEL, policy, PSEUDONYMS, today=today)


def seen(folder: Path) -> Counter[str]:
    """The ids of all decisions and labels, as they are read."""
    with reading(folder) as manifest:
        ids = [f"d {d.event_id}" for d in logged_decisions(folder, manifest, PSEUDONYMS)]
        return Counter(ids + [f"l {record.event_id}" for record in logged_labels(folder, manifest)])


def tables(folder: Path, out: Path) -> tuple[CollectResult, list[list[dict[str, Any]]]]:
    parts = [out / name for name in ("events", "labels", "served")]
    result = collect(folder, *parts, EVENTS, LABEL, {"first": ("amount", "mean")}, PSEUDONYMS)
    return result, [pq.read_table(part, partitioning=None).to_pylist() for part in parts]


def three_days(folder: Path) -> None:
    log(folder, "decisions-20260101T000000000000Z-1.a.jsonl", *(decision(n) for n in range(5)), torn=b'{"dec')
    log(folder, "decisions-20260101T120000000000Z-2.b.jsonl", decision(5), decision(6, day=2))
    log(
        folder,
        "decisions-20260102T000000000000Z-1.a.jsonl",
        decision(7, day=2),
        decision(1, day=2, score=1.0),
    )
    log(folder, "labels-20260102T000000000000Z-1.a.jsonl", label(1, 1, 3), label(2, 0, 2))
    log(folder, "labels-20260102T000000000000Z-2.b.jsonl", label(1, 0, 2), label(3, 1, 2))


def test_an_archive_from_before_decisions_could_be_void_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    three_days(folder)
    run(folder)
    with reading(folder) as manifest:
        before = list(logged_decisions(folder, manifest))
        for name, file in manifest.files.items():
            if file.kind == "decisions":
                path = folder / ARCHIVE / name
                pq.write_table(pq.read_table(path, partitioning=None).drop_columns("void"), path)
        assert list(logged_decisions(folder, manifest)) == before


def test_closed_files_lie_in_the_archive_by_day_and_read_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    three_days(folder)
    before = tables(folder, tmp_path)
    assert run(folder) == CompactResult(
        files=5, decisions=9, labels=4, being_written=0, files_removed=0, days_removed=0
    )
    days = {path.parent.name for path in (folder / ARCHIVE).glob("day=*/*.parquet")}
    assert days == {"day=2026-01-01", "day=2026-01-02", "day=2026-01-03"}
    assert tables(folder, tmp_path) == before
    for path in folder.glob("*.jsonl"):
        path.unlink()
    assert tables(folder, tmp_path) == before
    assert run(folder).files == 0


def test_of_labels_that_two_workers_took_the_one_taken_last_holds(tmp_path: Path) -> None:
    three_days(tmp_path / "log")
    _, (_, labels, _) = tables(tmp_path / "log", tmp_path)
    assert {row["transaction_id"]: row["is_fraud"] for row in labels} == {1: True, 2: False, 3: True}


def test_the_file_that_a_server_writes_to_is_left_alone_until_it_is_closed(tmp_path: Path) -> None:
    written = AppendLog(tmp_path, "decisions")
    written.write([decision(1), decision(2)])
    assert (run(tmp_path).files, run(tmp_path).being_written) == (0, 1)
    assert set(seen(tmp_path)) == {"d 1", "d 2"}
    written.close()
    done = run(tmp_path)
    assert (done.decisions, done.being_written) == (2, 0)
    assert [d.event_id for d in last_decisions(tmp_path, 5)] == [1, 2]  # as a server that starts needs them


def test_a_run_that_is_killed_anywhere_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    expected, kills = None, 0
    for at in range(200):
        folder = tmp_path / str(at)
        three_days(folder)
        expected = expected or seen(folder)
        child = os.fork()
        if child == 0:
            kill_at(at)
            run(folder)
            run(folder, today=date(2026, 1, 6))
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        assert seen(folder) == expected
        run(folder)
        assert seen(folder) == expected
        assert nothing_is_left_aside(folder)
        kills += killed
        if not killed:
            break
    assert kills > 15


def nothing_is_left_aside(folder: Path) -> bool:
    there = {
        str(path.relative_to(folder / ARCHIVE)) for path in (folder / ARCHIVE).rglob("*.*") if path.is_file()
    }
    return there == {"_files.json", *read_manifest(folder).files} and not list(folder.glob(".*"))


def kill_at(operation: int) -> None:
    """Let this process die at the so-manieth change of a folder."""
    count = 0

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal count
            if count == operation:
                os._exit(9)
            count += 1
            return act(*args, **more)

        return step

    for name in ("replace", "rename", "unlink", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))


def test_files_and_days_that_were_kept_long_enough_are_removed(tmp_path: Path) -> None:
    three_days(tmp_path)
    run(tmp_path)
    assert run(tmp_path, today=date(2026, 1, 4)).files_removed == 0
    assert run(tmp_path, today=date(2026, 1, 5)).files_removed == 1
    assert run(tmp_path, today=date(2026, 1, 6)).files_removed == 3
    assert sum(seen(tmp_path).values()) == 13
    assert run(tmp_path, today=date(2026, 1, 12)).days_removed == 1
    assert sum(seen(tmp_path).values()) == 13 - 6
    run(tmp_path, today=date(2026, 2, 1))
    assert not seen(tmp_path) and not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.glob("*.jsonl"))
    assert read_manifest(tmp_path).sources == {}


def test_a_clock_that_was_set_back_does_not_make_rows_old(tmp_path: Path) -> None:
    log(
        tmp_path,
        "decisions-20260102T000000000000Z-1.a.jsonl",
        decision(1, scored_at="1970-01-01T00:00:00+00:00"),
    )
    run(tmp_path)
    run(tmp_path)
    assert set(seen(tmp_path)) == {"d 1"}


def test_nobody_s_id_is_in_the_archive_nor_in_what_is_collected(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    named = decision(3).event | {"customer_id": "A 9"}
    log(
        folder,
        "decisions-20260101T000000000000Z-1.a.jsonl",
        decision(1),
        decision(2),
        decision("x", event=named),
    )
    expected = [str(PSEUDONYMS.of("customer_id", 4711))] * 2 + [PSEUDONYMS.of("customer_id", "A 9")]
    _, (events, _, served) = tables(folder, tmp_path)
    run(folder)
    (path,) = (folder / ARCHIVE).glob("day=*/*.parquet")
    archived = [row["event"] for row in pq.read_table(path, partitioning=None).to_pylist()]
    for rows in (events, served, archived):
        assert sorted(str(row["customer_id"]) for row in rows) == expected


def test_a_pseudonym_is_of_the_kind_of_its_value_and_of_its_key_and_column() -> None:
    number, text = PSEUDONYMS.of("customer_id", 7), PSEUDONYMS.of("customer_id", "007")
    assert type(number) is int and 0 <= number < 10**18 and number != 7
    assert PSEUDONYMS.of("customer_id", "7") == str(number)
    assert text.startswith("h") and len(text) == 33
    assert PSEUDONYMS.of("customer_id", None) is None
    others = [Pseudonyms(bytes(32), ("customer_id",)).of("customer_id", 7), PSEUDONYMS.of("terminal_id", 7)]
    assert len({number, *others}) == 3


@pytest.mark.parametrize("text_ids", [False, True], ids=["numbers", "text"])
def test_windows_over_pseudonyms_are_those_over_ids(tmp_path: Path, text_ids: bool) -> None:
    rows = [event for one in histories(4, text_ids=text_ids, seed=5) for event in one]
    hidden = Pseudonyms(KEY, ("card",))
    plain = arrow_table(rows)
    values = features_of(hidden.table(plain), FEATURES, SCHEMA)
    assert values.select(FEATURES.names).equals(features_of(plain, FEATURES, SCHEMA).select(FEATURES.names))
    table = write_events(tmp_path / "events", rows)
    made = pseudonymous_events(table, tmp_path / "hidden", hidden)
    copies = pq.read_table(tmp_path / "hidden", partitioning=None)
    assert copies.equals(hidden.table(pq.read_table(table, partitioning=None)))
    assert pseudonymous_events(table, tmp_path / "hidden", hidden) == made
    assert pseudonymous_events(table, tmp_path / "hidden", Pseudonyms(bytes(32), ("card",))) != made


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.lists(st.integers(), max_size=2) | st.just("2018-06-01T12:34:56+02:00")
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*event_types(EVENTS, LABEL), "gone"]), VALUES))
def test_whatever_an_event_held_is_in_the_archive(event: dict[str, Any]) -> None:
    types = event_types(EVENTS, LABEL)
    row = decision_row(decision(1, event=event), types)
    kept = {name: value for name, value in row["event"].items() if value is not None}
    kept |= msgspec.json.decode(row["rest"] or "{}")
    assert kept.keys() == {name for name, value in event.items() if value is not None}
    for name, value in kept.items():
        if isinstance(value, datetime):
            moment = datetime.fromisoformat(event[name])
            assert value == (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        else:
            assert value == event[name] or value == str(event[name])


def test_fields_of_another_schema_are_read_back(tmp_path: Path) -> None:
    event = decision(1).event | {"amount": "dear", "gone": [1, {"a": None}], "terminal_id": None}
    log(tmp_path, "decisions-20260101T000000000000Z-1.a.jsonl", decision(1, event=event))
    run(tmp_path)
    (read,) = logged_decisions(tmp_path, read_manifest(tmp_path), PSEUDONYMS)
    expected = {name: value for name, value in event.items() if value is not None}
    expected |= {"customer_id": str(PSEUDONYMS.of("customer_id", 4711)), "transaction_id": "1"}
    assert read == msgspec.structs.replace(decision(1), event=expected, event_id="1")


def test_one_event_is_found_in_the_archive(tmp_path: Path) -> None:
    three_days(tmp_path)
    run(tmp_path)
    found = logged_decisions(tmp_path, read_manifest(tmp_path), event_id="1")
    assert sorted(d.score for d in found) == [0.25, 1.0]


def test_a_damaged_line_is_named_and_nothing_of_its_file_is_archived(tmp_path: Path) -> None:
    three_days(tmp_path)
    path = tmp_path / "decisions-20260102T000000000000Z-1.a.jsonl"
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(InputError, match=r"1\.a\.jsonl: line 1 is not a Decision"):
        run(tmp_path)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    three_days(tmp_path)
    run(tmp_path)
    path = min((tmp_path / ARCHIVE).glob("day=*/decisions*.parquet"))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=f"{path}: cannot be read"):
        seen(tmp_path)


def test_the_key_of_the_pseudonyms_is_made_once_and_asked_for_after_that(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    three_days(home.decisions)
    made = pseudonyms_of(home)
    key = tmp_path / "keys" / KEY_FILE
    assert made is not None and key.stat().st_mode & 0o777 == 0o600
    assert compact_logs(home, today=TODAY).decisions == 9
    assert pseudonyms_of(home).key_id == made.key_id == read_manifest(home.decisions).key_id
    saved = key.read_text()
    key.unlink()
    with pytest.raises(ConfigError, match="no key of the archive's pseudonyms"):
        compact_logs(home, today=TODAY)
    read_or_make_key(key)
    with pytest.raises(ConfigError, match="is not the key"):
        pseudonyms_of(home)
    key.write_text(saved[:10])
    with pytest.raises(ConfigError, match="is no key"):
        pseudonyms_of(home)


def test_without_logs_there_is_nothing_to_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no logs"):
        run(tmp_path / "none")


def test_what_is_not_old_yet_is_not_judged_as_of_a_day_to_come(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    three_days(home.decisions)
    compact_logs(home, today=TODAY)
    before = sorted(home.decisions.rglob("*"))
    with pytest.raises(ConfigError, match=r"--as-of: 2200-01-01 is after today, .* \(UTC\)"):
        compact_logs(home, today=date(2200, 1, 1))
    assert sorted(home.decisions.rglob("*")) == before
