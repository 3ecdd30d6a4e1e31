"""The logs begin another file in time, lose nothing that was written, and keep nothing that was not."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import serving.decisions
from mlops.errors import SetupError
from mlops.records import Decision, LabelRecord, read_decisions, read_labels
from pipelines.archive import is_closed
from serving.decisions import AppendLog, damaged_lines, last_decisions, last_labels
from tests.serving.example import World, payment
from tests.serving.supervised import until

LINE = 200
"""More than a line of `decision` has bytes."""


def decision(number: int, scored_at: str = "") -> Decision:
    return Decision(
        decision_id=str(number), event_id=number, scored_at=scored_at, event={}, features=[], score=0.5,
        decision="approve", version="1", bundle="",
    )  # fmt: skip


def ids(decisions: Any) -> list[int]:
    return [d.event_id for d in decisions]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("decisions-*.jsonl"))


def test_a_file_that_is_large_enough_is_followed_by_another(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, "decisions", rotate_bytes=LINE)
    sizes = [log.write([decision(n), decision(n + 1)]) for n in range(0, 10, 2)]
    assert [path.stat().st_size for path in files(tmp_path)] == sizes
    assert [is_closed(path) for path in files(tmp_path)] == [True] * 4 + [False]
    log.close()
    assert all(map(is_closed, files(tmp_path)))
    assert ids(read_decisions(tmp_path)) == list(range(10))


def test_a_file_that_is_old_enough_is_closed_also_when_nothing_more_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(serving.decisions.time, "monotonic", lambda: now)
    log = AppendLog(tmp_path, "decisions", rotate_seconds=60)
    log.write([decision(1)])
    now += 59
    log.rotate_if_due()
    log.write([decision(2)])
    assert [is_closed(path) for path in files(tmp_path)] == [False]
    now += 1
    log.rotate_if_due()
    assert [is_closed(path) for path in files(tmp_path)] == [True]
    assert ids(log.last(5, Decision)) == [1, 2]
    log.write([decision(3)])
    now += 60
    log.write([decision(4)])
    assert len(files(tmp_path)) == 3
    assert ids(read_decisions(tmp_path)) == [1, 2, 3, 4]


def test_the_last_lines_are_found_across_files_and_processes(tmp_path: Path) -> None:
    small, large = (AppendLog(tmp_path, "decisions", rotate_bytes=size) for size in (LINE, 2**20))
    for n in range(20):
        small.write([decision(n, f"2026-01-01T00:00:{n:02d}")])
        large.write([decision(100 + n, f"2026-01-01T00:00:{n:02d}.5")])
    assert len(files(tmp_path)) > 5
    assert ids(small.last(12, Decision)) == list(range(8, 20))
    assert ids(last_decisions(tmp_path, 12)) == [n + more for n in range(8, 20) for more in (0, 100)]
    files(tmp_path)[0].unlink()  # archived, and kept long enough
    assert ids(small.last(100, Decision))[-15:] == list(range(5, 20))


def test_names_are_in_order_and_the_last_lines_are_found_where_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        at = datetime(2026, 1, 2, tzinfo=UTC)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.at

    monkeypatch.setattr(serving.decisions, "datetime", Clock)
    for number in range(4):
        log = AppendLog(tmp_path, "decisions")
        log.write([decision(number)])
        log.close()
        os.utime(max(files(tmp_path)), (Clock.at.timestamp(),) * 2)
        Clock.at -= timedelta(hours=1)
    assert ids(read_decisions(tmp_path)) == [0, 1, 2, 3]
    assert 3 in ids(last_decisions(tmp_path, 5))


def test_labels_of_several_processes_come_in_the_order_in_which_they_were_taken(tmp_path: Path) -> None:
    first, second = AppendLog(tmp_path, "labels"), AppendLog(tmp_path, "labels")

    def label(value: int, second_: int) -> LabelRecord:
        return LabelRecord(event_id=1, label=value, known_at="", received_at=f"2026-01-01T00:00:0{second_}")

    first.write([label(0, 1)])
    second.write([label(0, 2)])
    first.write([label(1, 3)])
    assert [record.label for record in last_labels(tmp_path, 5)] == [0, 0, 1]


def test_a_process_that_is_killed_leaves_a_closed_file(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from serving.decisions import AppendLog\n"
        "from tests.serving.test_decisions import decision\n"
        "log = AppendLog(Path(sys.argv[1]), 'decisions'); log.write([decision(1)])\n"
        "print('written', flush=True); sys.stdin.read()"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        assert [is_closed(path) for path in files(tmp_path)] == [False]
        process.kill()
        process.wait()
    assert [is_closed(path) for path in files(tmp_path)] == [True]
    assert ids(read_decisions(tmp_path)) == [1]


def test_what_does_not_fit_leaves_nothing_and_what_fits_later_follows(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, "decisions")
    log.write([decision(1)])
    size = files(tmp_path)[0].stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 10, size + 10):  # nothing, a part of a line, a line and a part of another
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
        try:
            with pytest.raises(SetupError, match=str(tmp_path)):
                log.write([decision(2), decision(3)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert files(tmp_path)[0].stat().st_size == size
    log.write([decision(2)])
    log.close()
    assert ids(read_decisions(tmp_path)) == [1, 2]


def test_a_part_that_cannot_be_taken_back_is_the_last_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AppendLog(tmp_path, "decisions")
    log.write([decision(1)])
    size = files(tmp_path)[0].stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def broken(*_: int) -> None:
        raise OSError(errno.EIO, "broken")

    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with monkeypatch.context() as patched, pytest.raises(SetupError):
            patched.setattr(os, "ftruncate", broken)
            log.write([decision(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write([decision(3)])
    assert [path.stat().st_size for path in files(tmp_path)] == [size + 10, size]
    assert ids(read_decisions(tmp_path)) == [1, 3]


@pytest.mark.parametrize("calls", [{"fsync"}, {"fsync", "fdatasync"}], ids=["as on macOS", "as on Linux"])
@pytest.mark.parametrize("fsync", [False, True])
def test_the_disk_is_waited_for_only_if_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool, calls: set[str]
) -> None:
    synced: list[int] = []
    if "fdatasync" not in calls:
        monkeypatch.delattr(os, "fdatasync", raising=False)
    for name in calls & set(dir(os)):
        act = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda descriptor, act=act: (synced.append(descriptor), act(descriptor))
        )
    log = AppendLog(tmp_path, "decisions", fsync=fsync)
    for n in range(3):
        log.write([decision(n)])
    assert len(synced) == (4 if fsync else 0)  # each line, and the folder that got a file


@pytest.mark.linux
def test_a_line_that_did_not_reach_the_disk_is_not_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AppendLog(tmp_path, "decisions", fsync=True)
    log.write([decision(1)])

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patched, pytest.raises(SetupError, match="broken"):
        patched.setattr(os, "fdatasync", broken)
        log.write([decision(2)])
    log.write([decision(3)])
    assert ids(read_decisions(tmp_path)) == [1, 3]
    assert len(files(tmp_path)) == 2


def test_a_file_that_somebody_removed_is_written_to_no_more(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, "decisions")
    log.write([decision(1)])
    files(tmp_path)[0].unlink()
    log.rotate_if_due()
    log.write([decision(2)])
    assert ids(read_decisions(tmp_path)) == [2]


def test_labels_are_written_as_decisions_are(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, "labels", rotate_bytes=1)
    labels = [LabelRecord(event_id=n, label=n % 2, known_at="", received_at="") for n in range(3)]
    for record in labels:
        log.write([record])
    assert list(read_labels(tmp_path)) == log.last(3, LabelRecord) == labels


@pytest.mark.parametrize("damage", ["zeroed", "joined", "cut", "not UTF-8", "of another kind"])
def test_a_damaged_line_is_passed_over_and_told_once(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = AppendLog(tmp_path, "decisions")
    for number in range(4):
        log.write([decision(number)])
    log.close()
    (path,) = files(tmp_path)
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    damaged = {
        "zeroed": bytes(len(second) - 1) + b"\n",
        "joined": bytes(len(second)),  # with the line after it
        "cut": second[: len(second) // 2] + b"\n",
        "not UTF-8": second.replace(b"{", b"{\xff", 1),
        "of another kind": b'{"event_id": 1}\n',
    }[damage]
    path.write_bytes(first + damaged + b"".join(rest))
    for _ in range(2):
        assert ids(last_decisions(tmp_path, 10)) == [0, 2, 3]
    assert ids(log.last(10, Decision)) == [0, 2, 3]
    (record,) = caplog.records
    assert record.levelname == "ERROR" and str(path) in record.getMessage()
    assert damaged_lines()[path] == 1


def test_a_server_with_a_damaged_line_in_its_log_answers_and_says_so(world: World) -> None:
    with world.server() as server:
        assert {server.post("/v1/score", payment(number)).status for number in range(3)} == {200}
    (path,) = world.decisions.glob("decisions-*.jsonl")
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + bytes(len(second) - 1) + b"\n" + third)
    with world.server() as server:
        assert server.get("/readyz").status == 200
        assert server.wait_for("log", ...) == f"{path}: damaged lines that are passed over: 1"
        assert server.post("/v1/score", payment(9)).status == 200
        until(lambda: "mlops_log_damaged_lines 1.0" in server.text("/metrics"))
