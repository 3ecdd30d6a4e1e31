"""What the bench of serving serves can be served, and its load is new events; what cannot be run is said."""

from __future__ import annotations

import json
import mmap
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import pytest

from mlops.api_keys import load_keys
from mlops.bundle import open_bundle
from mlops.deployment import read_deployment
from mlops.model import open_model
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from pipelines import serving_peers
from pipelines.bench_serving_load import Cores, memory_of
from pipelines.bench_serving_world import Payments, ServedWorld, make_world

WORLD = {"customers": 40, "terminals": 60, "days": 45}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ServedWorld:
    folder = tmp_path_factory.mktemp("served")
    return make_world(Settings(home=folder), folder, world=WORLD)


def test_the_bundle_gives_the_scores_of_the_model_that_others_are_given(world: ServedWorld) -> None:
    deployment = read_deployment(world.home.pointer)
    assert deployment is not None
    bundle = open_bundle(Path(deployment.champion.uri), public_key=world.home.keys / PUBLIC_KEY)
    assert bundle.digest == deployment.champion.digest
    assert bundle.features.names == world.features and len(world.features) == 15
    rows = world.rows[:200]
    theirs = world.model.predict_proba(rows)[:, 1]
    assert abs(open_model(bundle)(rows) - theirs).max() < 1e-6
    assert [key.name for key in load_keys(world.keys)] == ["bench"]


def test_load_is_events_that_the_store_does_not_have(world: ServedWorld) -> None:
    taken = [json.loads(event) for count in (3, 2) for event in world.payments.take(count)]
    ids = [event["transaction_id"] for event in taken]
    assert ids == list(range(world.events, world.events + 5))
    times = [event["event_time"] for event in taken]
    assert times == sorted(times)
    assert set(taken[0]) >= {"customer_id", "terminal_id", "amount"}
    assert not {"is_fraud", "scenario"} & set(taken[0])


def test_the_script_goes_on_where_python_would() -> None:
    payments = Payments("id", "at", ['"a":1'], 100, datetime(2024, 1, 1, tzinfo=UTC), 2.5)
    payments.take(4)
    assert payments.for_script() == ("id", "at", "104", "1704067210.000", "2.500")
    assert payments.take(1) == [b'{"id":104,"at":"2024-01-01T00:00:10Z","a":1}']


def test_another_server_that_cannot_be_installed_is_said(
    world: ServedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = msgspec.structs.replace(serving_peers.PEERS["mlflow"], packages=("./nowhere",))
    monkeypatch.setitem(serving_peers.PEERS, "mlflow", lacking)
    peer = serving_peers.measure_peer(
        "mlflow", world, tmp_path / "venvs", tmp_path, Cores(server=0, load=1), seconds=1, rounds=1
    )
    assert peer.rps is None and not peer.rates
    assert "nowhere" in peer.failed
    assert peer.asked.startswith('POST /invocations {"dataframe_split": {"columns": ["amount"')


@pytest.mark.linux
def test_another_server_with_other_scores_is_said_and_ends_nothing(
    world: ServedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n[[0.9, 2]]"
    script = (
        "import socket, sys\nlistener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        f"while True:\n    at, _ = listener.accept()\n    at.recv(65536)\n    at.sendall({answers!r})\n    at.close()"
    )
    other = msgspec.structs.replace(
        serving_peers.PEERS["bentoml"],
        prepare=lambda *_: (tmp_path / "other.py").write_text(script),
        arguments=lambda folder, port: ["python", str(tmp_path / "other.py"), str(port)],
    )
    monkeypatch.setitem(serving_peers.PEERS, "bentoml", other)
    monkeypatch.setattr(serving_peers, "_install", lambda venv, packages: None)
    monkeypatch.setattr(serving_peers, "_versions", lambda venv: {})
    (tmp_path / "venvs" / "bentoml").mkdir(parents=True)
    (tmp_path / "venvs" / "bentoml" / "bin").symlink_to(Path(sys.executable).parent)
    usable = sorted(os.sched_getaffinity(0))
    peer = serving_peers.measure_peer(
        "bentoml",
        world,
        tmp_path / "venvs",
        tmp_path,
        Cores(server=usable[0], load=usable[-1]),
        seconds=1,
        rounds=1,
    )
    assert peer.rps is None and "gives 2.0 where the bundle gives" in peer.failed and "\n" not in peer.failed


@pytest.mark.linux
def test_memory_of_the_process_is_told_apart_from_the_stores_file(tmp_path: Path) -> None:
    size = 64 * 2**20
    (tmp_path / "data.mdb").write_bytes(bytes(size))
    before = memory_of(psutil.Process())
    with (tmp_path / "data.mdb").open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        sum(mapped[place] for place in range(0, size, 4096))
        held = memory_of(psutil.Process())
    assert held.store_mb == pytest.approx(64, abs=1)
    assert held.uss_mb == pytest.approx(before.uss_mb, abs=10)
