"""Who asks for it is erased from the logs and their archive, and nobody else is."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from mlops.errors import InputError
from mlops.records import Decision
from mlops.tables import EventTable, write_table_meta
from pipelines.archive import ARCHIVE, logged_decisions, logged_labels, read_manifest
from pipelines.cli import main
from pipelines.compact import compact
from pipelines.erase import Erased, erase
from serving.decisions import AppendLog
from tests.command import exit_code
from tests.pipelines.test_compact import (
    EVENTS,
    LABEL,
    POLICY,
    PSEUDONYMS,
    TODAY,
    decision,
    kill_at,
    label,
    log,
    nothing_is_left_aside,
)


def of(customer: int | str, number: int, day: int = 1) -> Decision:
    whose = decision(number, day)
    return msgspec.structs.replace(whose, event=whose.event | {"customer_id": customer})


def archive(folder: Path) -> None:
    compact(folder, EVENTS, LABEL, POLICY, PSEUDONYMS, today=TODAY)


def left(folder: Path) -> tuple[list[str], list[str]]:
    """The ids of the events of decisions and of labels that are there, in the archive and in the files alike."""
    manifest = read_manifest(folder)
    decided = sorted(str(d.event_id) for d in logged_decisions(folder, manifest, PSEUDONYMS))
    return decided, sorted(str(known.event_id) for known in logged_labels(folder, manifest))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Events 1 to 6 of customers 7 and 8, the first four of them archived; one has 7 where others have an amount."""
    log(tmp_path, "decisions-20260101T000000000000Z-1.a.jsonl", of(7, 1), of(8, 2), of(7, 3), of(8, 4))
    log(tmp_path, "labels-20260101T000000000000Z-1.a.jsonl", label(1, 1, 1), label(2, 1, 1), label(9, 1, 1))
    archive(tmp_path)
    log(tmp_path, "decisions-20260102T000000000000Z-1.a.jsonl", of(8, 5, 2), of("7", 6, 2), torn=b'{"ev')
    log(tmp_path, "labels-20260102T000000000000Z-1.a.jsonl", label(6, 0, 2), label(5, 0, 2))
    return tmp_path


def test_one_person_is_erased_from_files_and_archive_with_the_labels(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jsonl")}
    assert erase(folder, "customer_id", "7", PSEUDONYMS) == Erased(decisions=5, labels=3, files_left=0)
    assert left(folder) == (["2", "4", "5"], ["2", "5", "9"])
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jsonl")} == before
    for path in folder.glob("decisions-*.jsonl"):
        assert b'"customer_id":8' in path.read_bytes() and b'"customer_id":7' not in path.read_bytes()
    assert erase(folder, "customer_id", "7", PSEUDONYMS) == Erased(decisions=0, labels=0, files_left=0)
    archive(folder)
    assert left(folder) == (["2", "4", "5"], ["2", "5", "9"])
    assert set(read_manifest(folder).files) == {
        str(path.relative_to(folder / ARCHIVE)) for path in (folder / ARCHIVE).glob("*/*.parquet")
    }


def test_a_day_of_one_person_only_is_gone(tmp_path: Path) -> None:
    log(tmp_path, "decisions-20260101T000000000000Z-1.a.jsonl", of(7, 1))
    archive(tmp_path)
    assert erase(tmp_path, "customer_id", "7", PSEUDONYMS).decisions == 2
    assert not list(tmp_path.rglob("*.parquet")) and left(tmp_path) == ([], [])


def test_columns_that_the_schema_does_not_have_any_more_are_looked_at(tmp_path: Path) -> None:
    whose = decision(1)
    log(
        tmp_path,
        "decisions-20260101T000000000000Z-1.a.jsonl",
        msgspec.structs.replace(whose, event=whose.event | {"phone": "123"}),
        decision(2),
    )
    archive(tmp_path)
    assert erase(tmp_path, "phone", "123", None).decisions == 2
    assert left(tmp_path) == (["2"], [])


def test_the_file_that_a_server_writes_to_is_left_and_said_to_be(tmp_path: Path) -> None:
    written = AppendLog(tmp_path, "decisions")
    written.write([of(7, 1), of(8, 2)])
    assert erase(tmp_path, "customer_id", "7", PSEUDONYMS) == Erased(decisions=0, labels=0, files_left=1)
    written.close()
    assert erase(tmp_path, "customer_id", "7", PSEUDONYMS) == Erased(decisions=1, labels=0, files_left=0)


def test_an_erasure_that_is_killed_anywhere_can_be_finished(folder: Path) -> None:
    kills = 0
    for at in range(100):
        child = os.fork()
        if child == 0:
            kill_at(at)
            erase(folder, "customer_id", "7", PSEUDONYMS)
            os._exit(0)
        done = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        decided, labelled = left(folder)
        assert {"2", "4", "5"} <= set(decided) and {"2", "5", "9"} <= set(labelled)
        if done:
            break
        kills += 1
    assert kills > 3 and left(folder) == (["2", "4", "5"], ["2", "5", "9"])
    assert nothing_is_left_aside(folder)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path / "decisions", "decisions-20260101T000000000000Z-1.a.jsonl", of(7, 1), of(8, 2))

    def run(*arguments: str) -> tuple[int, str]:
        code = exit_code("--home", tmp_path, *arguments)
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = run("compact", "--as-of", "2026-01-03", "--json")
    assert code == 0 and '"decisions":2' in said
    code, said = run("erase", "--key", "customer_id=7", "--json")
    assert code == 0 and '"decisions":2' in said
    assert left(tmp_path / "decisions")[0] == ["2"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("customer=7", "no column 'customer' that names somebody; those are transaction_id, customer_id"),
        ("amount=9.5", "no column 'amount' that names somebody"),
        ("customer_id=", "no value of customer_id"),
        ("customer_id=abc", "'abc' is no value of customer_id, which holds whole numbers"),
        ("customer_id", "'customer_id' is not a column and a value"),
    ],
)
def test_nobody_who_cannot_be_there_is_erased(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, said: str
) -> None:
    log(tmp_path / "decisions", "decisions-20260101T000000000000Z-1.a.jsonl", of(7, 1))
    meta = EventTable(
        rows=0, whole_number_ids=("customer_id",), first_event="", last_event="", fingerprint=""
    )
    (tmp_path / "events").mkdir()
    write_table_meta(tmp_path / "events", meta)
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path), "erase", "--key", key])
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert left(tmp_path / "decisions")[0] == ["1"]


@pytest.mark.parametrize("command", [["erase", "--key", "customer_id=7"], ["compact"]])
def test_without_logs_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path), *command])
    assert ended.value.code == 2 and "no logs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_logs_there_is_nobody_to_erase(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no logs"):
        erase(tmp_path / "none", "customer_id", "7", None)
