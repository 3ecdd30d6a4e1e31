"""What a Prefect server makes of a deployment: runs by the clock, in a pool that is one home's and no other's.

Beside that a home runs, which has served nothing, and of which one flow's process is killed whenever it starts: a good
minute passes until the server gives it up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from mlops.settings import Settings
from pipelines.flows import NOTHING_DUE, home_resource
from tests.system.postgresql_server import PostgresqlServer, running_postgresql
from tests.system.prefect_house import House, house, kill, wait
from usecases.fraud.simulator import simulate
from usecases.fraud.world import World

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
_SILENT, _SHORT = str(uuid.uuid4()), str(uuid.uuid4())  # runs that there are events of alone
_PASSWORD = "correct-horse"
_DIES = """
import os, pathlib, signal
run = pathlib.Path(__file__).with_name("run")
if run.exists() and os.environ.get("PREFECT__FLOW_RUN_ID") == run.read_text():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Three runs, by their ids, of a home that has served nothing.

    Fields:
        dies: of `features`; its process is killed before it has imported a thing, as long as `deadly` is there.
    """

    retrain: str
    monitor: str
    dies: str
    deadly: Path


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresqlServer]:
    with running_postgresql() as started:
        yield started


@pytest.fixture(scope="module")
def server(postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("prefect"), postgresql=postgresql) as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def begun(server: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    folder = tmp_path_factory.mktemp("begun")
    home, events, deadly = folder / "home", folder / "events.parquet", folder / "run"
    pq.write_table(simulate(World(customers=20, days=3)), events)
    (folder / "sitecustomize.py").write_text(_DIES)
    server.deploy(home, "begun", "--silence", 60, events=events)
    more = {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "MLOPS_STORE": f"redis://:{_PASSWORD}@127.0.0.1:1/0",
    }
    with server.worker(home, "begun", **more):
        dies = server.start("begun", "features", fresh=True)
        deadly.write_text(dies)
        retrain, monitor = (server.start("begun", flow) for flow in ("retrain", "monitor"))
        for run, states in ((_SILENT, ["Running"]), (_SHORT, ["Running", NOTHING_DUE])):
            for state in states:
                server.emit(_said_of(run, state))
        yield Begun(retrain=retrain, monitor=monitor, dies=dies, deadly=deadly)


@pytest.fixture(scope="module")
def first(server: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose flows run by the clock, in the pool `first`, for which a worker has waited."""
    home = tmp_path_factory.mktemp("first") / "home"
    line = [str(Path(sys.executable).with_name("mlops")), "--home", str(home), "prefect", "worker"]
    worker = subprocess.Popen(
        [*line, "--pool", "first", "--wait"],
        stderr=subprocess.PIPE,
        env=server.environment(),
    )
    try:
        assert worker.stderr is not None
        assert (
            worker.stderr.readline()
            .decode()
            .startswith("mlops: waits until `mlops prefect deploy` has made the pool")
        )
        done = server.command(home, "prefect", "deploy", "--events", "s3://raw-events", "--pool", "first")
        assert done.returncode == 0 and not done.stderr, done.stderr[-2000:]
        wait(lambda: bool(_workers(server)), within_s=120, what=lambda: "there is no worker")
    finally:
        kill(worker)
    return home


def test_the_server_makes_runs_by_the_clock(server: House, first: Path) -> None:
    flows = {each["id"]: name for name, each in server.deployments("first").items()}

    def scheduled() -> set[str]:
        runs = server.ask("flow_runs", deployments={"id": {"any_": list(flows)}})
        return {flows[run["deployment_id"]] for run in runs if run["auto_scheduled"]}

    wait(
        lambda: scheduled() == {"features", "monitor", "retrain"},
        within_s=180,
        what=lambda: f"by the clock {scheduled() or 'nothing'} is to run",
    )


def test_another_home_gets_neither_the_flows_nor_the_events_of_a_pool(
    server: House, first: Path, tmp_path: Path
) -> None:
    before = _told(server)
    said = f"mlops: pool first: is of the home {first}, and not of {tmp_path / 'other'}; name another with --pool\n"
    for words in (["deploy", "--events", "s3://others"], ["worker"]):
        done = server.command(tmp_path / "other", "prefect", *words, "--pool", "first")
        assert (done.returncode, done.stderr) == (2, said)
    assert _told(server) == before
    assert home_resource(Settings(home=first)) in json.dumps(before["automations"])


def test_a_home_has_one_pool(server: House, first: Path) -> None:
    words = ("prefect", "deploy", "--events", "s3://raw-events", "--pool", "second")
    done = server.command(first, *words)
    assert (done.returncode, done.stderr) == (
        2,
        f"mlops: home {first}: has the pool first already; deploy with --pool first, or remove that one first"
        " (docs/prefect.md)\n",
    )
    assert "second" not in _pools(server) and not server.deployments("second")


def test_a_flow_may_be_taken_from_the_clock_and_an_archive_need_not_be_fresh(
    server: House, first: Path
) -> None:
    words = ("prefect", "deploy", "--events", "s3://raw-events", "--pool", "first", "--archive")
    assert server.command(first, *words, "--monitor", "never").returncode == 0
    clocks = {
        name: [each["parameters"] for each in deployment["schedules"]]
        for name, deployment in server.deployments("first").items()
    }
    assert clocks == {"features": [{}], "monitor": [], "retrain": [{"regularly": True}], "lifecycle": []}


def test_anybody_s_event_asks_for_a_retraining_in_the_home_s_pool(server: House, first: Path) -> None:
    retrain = server.deployments("first")["retrain"]["id"]

    def asked() -> bool:
        runs = server.ask("flow_runs", deployments={"id": {"any_": [retrain]}})
        return any(not run["auto_scheduled"] for run in runs)

    assert not asked()
    home = home_resource(Settings(home=first))
    _prefect(server, "event", "emit", "mlops.drift.retrain-due", "--resource-id", home)
    wait(asked, within_s=180, what=lambda: str(server.ask("automations")))


def test_a_worker_ends_where_there_is_no_such_pool(server: House, tmp_path: Path) -> None:
    done = server.command(tmp_path / "home", "prefect", "worker", "--pool", "nope")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "mlops: pool nope: no home has such a pool; make it first: mlops prefect deploy"
    )
    assert done.stderr.count("\n") == 1


def test_a_pool_that_is_there_becomes_the_home_s_and_a_path_that_is_not_is_told(
    server: House, tmp_path: Path
) -> None:
    _prefect(server, "work-pool", "create", "ours", "--type", "process")
    nowhere, home = tmp_path / "nowhere", tmp_path / "home"
    done = server.command(home, "prefect", "deploy", "--events", nowhere, "--pool", "ours")
    assert done.returncode == 0
    assert (
        done.stderr.startswith(f"mlops: {nowhere}: no such file or folder here")
        and done.stderr.count("\n") == 1
    )
    (pool,) = (each for each in server.ask("work_pools") if each["name"] == "ours")
    assert (pool["description"], pool["concurrency_limit"]) == (home_resource(Settings(home=home)), 1)


def test_a_run_that_dies_at_each_start_fails_and_stays_so_until_somebody_tries_again(
    server: House, postgresql: PostgresqlServer, begun: Begun
) -> None:
    failed = server.ended(begun.dies, within_s=600)
    given_up = time.monotonic()
    assert failed["state_type"] == "FAILED", failed["state"]
    assert failed["state"]["message"] == "was begun 5 times, and crashed each time"
    assert failed["run_count"] == 0  # it was never running

    silent, looked = (server.ended(run, within_s=60) for run in (begun.retrain, begun.monitor))
    assert silent["state_name"] == "NothingDue"
    assert looked["state_type"] == "FAILED" and "nothing was served yet" in looked["state"]["message"]

    wait(lambda: time.monotonic() > given_up + 25, within_s=60, what=lambda: "time stands still")
    crashes = [each for each in server.events("prefect.flow-run.Crashed") if begun.dies in str(each)]
    assert len(crashes) == 5 and server.run(begun.dies)["state_type"] == "FAILED"
    wait(lambda: _SILENT in _triggered(server), within_s=60, what=lambda: _triggered(server))
    assert _SHORT not in _triggered(server)  # nothing more was to come of it

    begun.deadly.unlink()
    server.retry(begun.dies)
    wait(
        lambda: server.run(begun.dies)["run_count"] == 1,
        within_s=180,
        what=lambda: str(server.run(begun.dies)),
    )
    again = server.ended(begun.dies, within_s=300)
    assert again["state_type"] == "FAILED" and "days old" in again["state"]["message"]  # it is not fresh

    database = postgresql.dump()
    assert begun.dies.encode() in database and _PASSWORD.encode() not in database


def _said_of(run: str, state: str) -> dict[str, Any]:
    """An event of a run of the pool `begun`."""
    return {
        "id": str(uuid.uuid4()),
        "event": f"prefect.flow-run.{state}",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.id": "prefect.tag.begun-flow", "prefect.resource.role": "tag"}],
    }


def _triggered(server: House) -> str:
    return str(server.events("prefect.automation.triggered"))


def _prefect(server: House, *words: str) -> None:
    """A command of Prefect's own."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *words],
        env=server.environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def _workers(server: House) -> list[dict[str, Any]]:
    return server.ask("work_pools/first/workers") if "first" in _pools(server) else []


def _pools(server: House) -> set[str]:
    return {each["name"] for each in server.ask("work_pools")}


def _told(server: House) -> dict[str, Any]:
    """What the server has been told of the pool `first`."""
    return {
        "parameters": {name: each["parameters"] for name, each in server.deployments("first").items()},
        "automations": [
            each["trigger"] for each in server.ask("automations") if each["name"].startswith("first: ")
        ],
    }
