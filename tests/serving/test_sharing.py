"""Several processes use one store, one is killed, and nothing that was committed is lost or counted twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving.forgetting import delete_key, forget
from serving.lmdb_store import LmdbStore
from serving.plan import StorePlan
from serving.tables import EVENTS, NOTES, TABLES
from tests.reference import reference_features
from tests.serving.example import FEATURES as SERVED
from tests.serving.example import NUMBERS, ROOT, World, payment
from tests.serving.test_forgetting import FEATURES, SCHEMA, append, compute, event, us

SIZE = 240
_APPEND = """
import sys
from pathlib import Path
from tests.serving.test_sharing import history, opened
from tests.serving.test_forgetting import append
store = opened(Path(sys.argv[1]))
for row in history()[int(sys.argv[2]) :: 3]:
    append(store, row)
    print(row["payment"], flush=True)
"""
_CARE = """
import sys
from pathlib import Path
import serving.forgetting
from tests.serving.test_sharing import CUT, history, opened
from tests.serving.test_forgetting import us
serving.forgetting._RECORDS = serving.forgetting._GROUPS = serving.forgetting._PLACES = serving.forgetting._EVENTS = 2
store = opened(Path(sys.argv[1]))
print("ready", flush=True)
if sys.argv[2] == "forget":
    serving.forgetting.forget(store, CUT)
else:
    serving.forgetting.delete_key(store, "card", "c1")
"""


def history() -> list[dict[str, Any]]:
    """Events of three cards, with ties."""
    draw = random.Random(5)
    return [
        event(
            f"{n:03}",
            draw.randint(0, 240),
            card=f"c{n % 3}",
            note=draw.choice("abcd"),
            items=draw.randint(-9, 9),
            weight=draw.choice([0.0, 3.0]),
        )
        for n in range(SIZE)
    ]


CUT = us(event("", 150))


def opened(folder: Path) -> LmdbStore:
    return LmdbStore(folder, StorePlan.of(FEATURES, SCHEMA), SCHEMA)


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed_at_last(script: str, folder: Path, what: str, pauses: list[float]) -> int:
    """Run, kill and run again, and at last let it end; return how often it was killed before its end."""
    killed = 0
    for pause in [*pauses, 60.0]:
        process = run(script, folder, what)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        process.stdout.close()
    assert process.returncode == 0
    return killed


def test_processes_append_to_one_store_and_a_killed_one_loses_nothing_committed(tmp_path: Path) -> None:
    opened(tmp_path).close()
    processes = [run(_APPEND, tmp_path, n) for n in range(3)]
    victim = processes[0].stdout
    assert victim is not None
    acknowledged = [victim.readline().strip() for _ in range(20)]
    processes[0].send_signal(signal.SIGKILL)
    for process in processes:
        assert process.stdout is not None
        acknowledged += process.stdout.read().split()
        process.stdout.close()
        assert process.wait(60) in (0, -signal.SIGKILL)
    assert len(acknowledged) >= 20 + 2 * SIZE // 3
    with closing(opened(tmp_path)) as store:
        assert len(acknowledged) <= store.count(EVENTS) <= len(acknowledged) + 1
        rows = history()
        assert append(store, *[row for row in rows if row["payment"] in acknowledged]) == 0
        append(store, *rows)
        expected = reference_features(rows, {}, FEATURES, SCHEMA.events, SCHEMA.label)
        for row in rows[::7]:
            assert list(compute(store, row).values()) == expected[row["payment"]]


def test_killed_while_it_forgets_it_goes_on_and_features_are_what_they_were(tmp_path: Path) -> None:
    rows = history()
    with closing(opened(tmp_path)) as store:
        append(store, *rows)
    assert killed_at_last(_CARE, tmp_path, "forget", [0.01, 0.03, 0.05, 0.1]) >= 2
    with closing(opened(tmp_path)) as store:
        assert store.count(EVENTS) == sum(us(row) >= CUT for row in rows)
        assert forget(store, CUT).places == 0
        expected = reference_features(rows, {}, FEATURES, SCHEMA.events, SCHEMA.label)
        late = [row for row in rows if us(row) - FEATURES.horizon_us >= CUT]
        assert late
        for row in late:
            assert list(compute(store, row).values()) == expected[row["payment"]]


def test_killed_while_it_deletes_a_key_it_goes_on_and_other_keys_are_what_they_were(tmp_path: Path) -> None:
    rows = history()
    with closing(opened(tmp_path)) as store:
        append(store, *rows)
    assert killed_at_last(_CARE, tmp_path, "delete", [0.01, 0.03, 0.05]) >= 2
    with closing(opened(tmp_path)) as store:
        assert delete_key(store, "card", "c1").events == 0
        others = [row for row in rows if row["card"] != "c1"]
        assert store.count(EVENTS) == len(others)
        expected = reference_features(others, {}, FEATURES, SCHEMA.events, SCHEMA.label)
        for row in others[::9]:
            assert list(compute(store, row).values()) == expected[row["payment"]]
        for card in ("c0", "c2"):
            delete_key(store, "card", card)
        assert sum(store.count(table) for table in TABLES if table != NOTES) == 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.deploy("1", made.bundle())
    return made


def test_a_running_server_refuses_what_was_forgotten_and_does_not_bring_back_who_was_deleted(
    world: World,
) -> None:
    def count(number: int) -> float:
        late = payment(number, card=1, at="2024-03-29T00:00:00")
        features: dict[str, float] = server.post("/v1/score?features=true", late).body["features"]
        return features["card_count_7d"]

    with world.server() as server:
        for number in range(20):
            assert server.post("/v1/score", payment(number, card=1, at="2024-03-28T00:00:00")).status == 200
        assert count(100) == 21
        with closing(LmdbStore(world.store, StorePlan.of(SERVED, NUMBERS), NUMBERS)) as store:
            assert delete_key(store, "card", 1).events == 21
            forget(store, us({"at": event("", 0)["at"].replace(month=3, day=10)}))
        assert count(101) == 1
        old = server.post("/v1/score", payment(102, at="2024-03-09T00:00:00"))
        assert old.status == 422
        assert "the store has forgotten what was before" in str(old.body)
        early = server.post("/v1/score", payment(103, at="2024-03-20T00:00:00"))
        assert early.status == 422
        assert "its windows reach back to 2024-03-06" in str(early.body)
        assert server.post("/v1/score", payment(104, at="2024-03-30T00:00:00")).status == 200
    with world.server() as server:
        assert "recovered" not in (world.home / "serving.log").read_text()
        assert count(105) == 2
