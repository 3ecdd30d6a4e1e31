"""Whatever is killed in the middle of a step: the run is begun again and comes to the same, and nothing is double."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds
import pytest

from mlops.settings import Settings
from mlops.tables import read_batches
from pipelines.store import stats
from tests.e2e.engines import by_command_line, deliver, outcome
from tests.system.prefect_house import House, house, kill, wait
from tests.system.prefect_killed import POINTS
from training import registry, tracking

pytestmark = pytest.mark.timeout(1700)
KILLED = "tests.system.prefect_killed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("prefect")) as started:
        yield started


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deliver(tmp_path_factory.mktemp("delivered") / "events")[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, month: Path) -> Path:
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    ran = by_command_line(home, month)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return home


@pytest.mark.system
def test_killed_in_training_and_with_its_worker_it_comes_to_the_same(
    server: House, month: Path, undisturbed: Path, tmp_path: Path
) -> None:
    _kill_and_compare(server, month, undisturbed, tmp_path, ["train_one"], "register")


@pytest.mark.prove
@pytest.mark.parametrize(
    ("processes", "worker"),
    [
        ([*POINTS][:4], [*POINTS][4]),
        ([*POINTS][4:], [*POINTS][2]),
        *(([], step) for step in POINTS if step not in ("train_one", "register")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_killed_in_any_step_it_comes_to_the_same(
    server: House, month: Path, undisturbed: Path, tmp_path: Path, processes: list[str], worker: str
) -> None:
    _kill_and_compare(server, month, undisturbed, tmp_path, processes, worker)


def _kill_and_compare(
    server: House, month: Path, undisturbed: Path, tmp_path: Path, processes: list[str], worker: str
) -> None:
    """The process of the flow, or of a training, is killed in some steps; and all there is, the worker too, in one."""
    home, marks, pool = tmp_path / "home", tmp_path / "marks", f"{worker}-{len(processes)}"
    marks.mkdir()
    deadly = {
        "MLOPS_USECASE": KILLED,
        "KILL_MARKS": str(marks),
        "KILL_IN": ",".join([*processes, worker]),
        "KILL_WORKER_IN": worker,
    }
    server.deploy(home, pool, "--silence", 60, events=month)
    run = server.start(pool, "lifecycle")
    with server.worker(home, pool, **deadly) as first:
        wait(
            lambda: (marks / worker).exists() or server.run(run)["state_type"] in ("COMPLETED", "FAILED"),
            within_s=900,
            what=lambda: str(server.run(run)["state"]),
        )
        kill(first)
    with server.worker(home, pool, **deadly):
        ended = server.ended(run, within_s=900)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert {mark.name for mark in marks.iterdir()} == {*processes, worker}
    apart = {"train_one", "judge"}  # those have processes of their own
    assert ended["run_count"] == len({*processes} - apart) + 2

    assert outcome(home) == outcome(undisturbed)
    settings, expected = _settings(home), _settings(undisturbed)
    assert _versions(settings) == _versions(expected)
    statuses = _runs(settings)
    killed = {"train_one"} & {*processes, worker}
    assert statuses.pop("KILLED", 0) <= 2 if killed else True  # both train side by side
    assert statuses == {"FINISHED": 2}
    for table in ("events", "features"):
        rows, ids = _ids(settings, table)
        assert rows == len(ids) and (rows, ids) == _ids(expected, table)
    assert len(read_batches(settings.events)) == 1
    assert _stored(settings) == _stored(expected)


def _settings(home: Path) -> Settings:
    return Settings(home=home, usecase="tests.e2e.two_candidates")


def _versions(settings: Settings) -> list[Any]:
    """The registry, without what is drawn and the time of day."""
    return [(step.version, step.stage, step.action, step.replaced) for step in registry.history(settings)]


def _runs(settings: Settings) -> dict[str, int]:
    """How many runs MLflow has, by how they ended."""
    experiment = tracking.prepare_tracking(settings, "fraud")
    counts: dict[str, int] = {}
    for run in tracking.client(settings).search_runs([experiment]):
        counts[run.info.status] = counts.get(run.info.status, 0) + 1
    return counts


def _ids(settings: Settings, table: str) -> tuple[int, set[Any]]:
    """How many rows a table has, and their ids."""
    ids = (
        ds.dataset(getattr(settings, table), format="parquet")
        .to_table(["transaction_id"])["transaction_id"]
        .to_pylist()
    )
    return len(ids), set(ids)


def _stored(settings: Settings) -> dict[str, Any]:
    """What the online store counts, but for the place that it takes."""
    counts: dict[str, Any] = msgspec.to_builtins(stats(settings))
    return {name: value for name, value in counts.items() if name not in ("store", "megabytes")}
