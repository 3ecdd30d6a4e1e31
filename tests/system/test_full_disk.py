"""A full disk: commands say so in one line and leave nothing half-written; a server refuses rather than forgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import pytest

from mlops.errors import SetupError
from mlops.policy import DecisionLog
from mlops.records import read_decisions, read_labels
from pipelines.archive import logged_decisions, read_manifest
from pipelines.compact import compact
from tests.serving.example import EVENTS, LABEL, Server, World, payment, payments
from usecases.fraud.simulator import write_days
from usecases.fraud.world import World as Cards

pytestmark = pytest.mark.system

MLOPS = Path(sys.executable).with_name("mlops")
Disk = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """Makes a file system of so many KiB."""
    with ExitStack() as stack:

        def make(kib: int) -> Path:
            disk = tmp_path / "disk"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(disk)], check=True)
            stack.callback(subprocess.run, ["umount", str(disk)], check=True)
            return disk

        yield make


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes, or a page less; return the file to remove."""
    ballast = disk / "ballast"
    room = os.statvfs(disk)
    ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - free))
    return ballast


def test_a_full_disk_is_one_line_and_exit_code_2_and_leaves_nothing_half_written(
    small_disk: Disk, tmp_path: Path
) -> None:
    home = small_disk(512) / "home"
    write_days(Cards(customers=1000, days=30), tmp_path / "world")
    done = subprocess.run(
        [MLOPS, "--home", home, "validate", "--events", tmp_path / "world"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr and "Traceback" not in done.stderr
    assert not (home / "events").exists()
    assert list(home.glob(".tmp-*")) == []


@pytest.mark.parametrize("rotate", ["64", "0.05"], ids=["one file", "many files"])
@pytest.mark.parametrize("store_too", [False, True], ids=["the log's disk", "the disk of log and store"])
def test_a_server_whose_disk_is_full_refuses_and_forgets_nothing(
    small_disk: Disk, tmp_path: Path, store_too: bool, rotate: str
) -> None:
    disk = small_disk(16 * 1024)
    world = World(tmp_path / "home")
    world.deploy("1", world.bundle())
    world.decisions = disk / "decisions"
    if store_too:
        world.store = disk / "store"
    answers: dict[int, dict[str, object]] = {}
    labelled: list[int] = []

    def send(server: Server, numbers: range) -> bool:
        """Send a list of events and a label; whether they were taken."""
        reply = server.post("/v1/score", payments(numbers))
        if reply.status == 200:
            answers.update({answer["event_id"]: answer for answer in reply.body})
        else:
            assert (reply.status, reply.type) == (503, "application/problem+json")
            assert str(disk) in reply.body["detail"]
        known = {"event_id": numbers[0], "label": 1, "known_at": "2024-03-30T00:00:00"}
        if server.post("/v1/labels", [known]).status == 200:
            labelled.append(numbers[0])
        return reply.status == 200

    with world.server("--rotate-mb", rotate) as server:
        assert send(server, range(100))
        ballast = fill(disk, 256 * 1024)
        number, refused = 100, []
        while len(refused) < 30:
            numbers = range(number, number + (1, 7, 40)[number % 3])
            if not send(server, numbers):
                refused.append(numbers)
            number = numbers.stop
            assert number < 10_000, "the disk never fills"
        assert len(answers) > 100
        ids = {decision.event_id for decision in read_decisions(world.decisions)}
        assert answers.keys() <= ids
        assert all(path.read_bytes()[-1:] in (b"", b"\n") for path in world.decisions.glob("*.jsonl"))
        assert server.get("/livez").status == 200

        ballast.unlink()
        for numbers in refused:
            assert send(server, numbers)
        assert send(server, range(number, number + 100))
        os.kill(server.process.pid, signal.SIGKILL)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)

    logged = {decision.event_id: decision.decision_id for decision in read_decisions(world.decisions)}
    assert logged == {id_: answer["decision_id"] for id_, answer in answers.items()}
    assert set(logged) == set(range(number + 100))
    assert set(labelled) <= {record.event_id for record in read_labels(world.decisions)}
    with world.server() as server:
        for start in range(0, number, 100):
            for answer in server.post("/v1/score", payments(range(start, start + 100))).body:
                assert answer == answers[answer["event_id"]]
        last = payment(number + 500, card=1, at="2024-03-29T00:00:00")
        features = server.post("/v1/score?features=true", last).body["features"]
    lines = Counter(decision.event_id for decision in read_decisions(world.decisions))
    assert set(lines.values()) == {1}
    events = [payment(n) for n in range(number + 100)]
    week = [event for event in events if event["card"] == 1 and event["at"] > "2024-03-22T00:00:00"]
    assert features["card_count_7d"] == 1 + len(week)


def test_logs_that_the_disk_has_no_room_to_archive_stay_as_they_were(
    small_disk: Disk, tmp_path: Path
) -> None:
    disk = small_disk(4 * 1024)
    world = World(tmp_path / "home")
    world.deploy("1", world.bundle())
    world.decisions = disk / "decisions"
    with world.server() as server:
        for start in range(0, 2000, 100):
            assert server.post("/v1/score", payments(range(start, start + 100))).status == 200
    ballast = fill(disk, 8 * 1024)

    def archive() -> int:
        done = compact(world.decisions, EVENTS, LABEL, DecisionLog(), None, today=date(2026, 1, 1))
        return done.decisions

    with pytest.raises(SetupError, match="no space left"):
        archive()
    assert not read_manifest(world.decisions).files
    assert len(list(read_decisions(world.decisions))) == 2000
    ballast.unlink()
    assert archive() == 2000
    found = {d.event_id for d in logged_decisions(world.decisions, read_manifest(world.decisions))}
    assert found == {str(number) for number in range(2000)}
