"""Whatever is killed in the middle of any step: the run is begun again and comes to the same, and nothing is double.

One such run is in `test_prefect_deployments.py`, where others pass the time until the server hears no heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.settings import Settings
from monitoring.rules import REQUEST
from tests.e2e.engines import by_command_line, deliver
from tests.system.prefect_asked import serve_and_ask
from tests.system.prefect_disturbed import Left, assert_same, completed, disturbed, left
from tests.system.prefect_house import House, house_on_postgresql, wait
from tests.system.prefect_killed import POINTS, WATCHING

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1700)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_on_postgresql(tmp_path_factory.mktemp("prefect")) as started:
        yield started


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return deliver(tmp_path_factory.mktemp("delivered") / "events")


@pytest.fixture(scope="module")
def month(delivered: tuple[Path, Path]) -> Path:
    return delivered[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, month: Path) -> Left:
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    ran = by_command_line(home, month)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return left(home)


@pytest.mark.parametrize(
    ("processes", "worker"),
    [
        (["ingest", "update_features", "train_one", "judge"], "register"),
        # Without register: a run begun again loads no use case before it.
        (["fill_store", "promote"], "train_one"),
        *(([], step) for step in POINTS if step not in ("train_one", "register")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_killed_in_any_step_it_comes_to_the_same(
    server: House, month: Path, undisturbed: Left, tmp_path: Path, processes: list[str], worker: str
) -> None:
    with disturbed(server, tmp_path, month, processes, worker) as run:
        run.kill()
        assert_same(server, run, undisturbed)


def test_killed_in_monitor_and_in_retrain_a_request_is_acted_on_once(
    server: House, delivered: tuple[Path, Path], tmp_path: Path
) -> None:
    month, day = delivered
    home = tmp_path / "home"
    ran = by_command_line(home, month)
    assert ran.returncode == 0, ran.stderr[-2000:]
    settings = Settings(home=home, usecase="tests.e2e.two_candidates")
    serve_and_ask(settings, day)
    before = left(home)

    def begin(pool: str) -> str:
        """Look; and the event of what was found starts the training."""
        looked = server.ended(server.start(pool, "monitor", as_of="2018-05-02"), within_s=600)
        assert looked["state_type"] == "COMPLETED" and looked["run_count"] >= 3, looked["state"]
        wait(lambda: bool(_retrainings(server, pool)), within_s=120, what=lambda: "no training was started")
        return str(_retrainings(server, pool)[0]["id"])

    with disturbed(server, tmp_path, month, [*WATCHING][:-1], [*WATCHING][-1], begin=begin) as run:
        run.kill()
        assert completed(server, run)["run_count"] >= 3
        assert len(_retrainings(server, run.pool)) == 1

    now, candidates = left(home), len(before.outcome.figures)
    registered = [version for version, stage, *_ in now.versions if stage == "candidate"]
    assert registered == [str(version) for version in range(1, 2 * candidates + 1)], now.versions
    assert (
        now.runs["FINISHED"] == before.runs["FINISHED"] + candidates and now.runs.keys() == before.runs.keys()
    )
    assert not (settings.monitoring / REQUEST).exists()
    assert now.outcome.champion == before.outcome.champion
    assert (now.events, now.batches) == (before.events, before.batches)


def test_where_others_took_in_new_events_meanwhile_a_run_fails_and_the_next_one_does_it(
    server: House, delivered: tuple[Path, Path], tmp_path: Path
) -> None:
    month, day = delivered
    with disturbed(server, tmp_path, month, [], "train_one") as run:
        other = server.start(run.pool, "features", events=str(day))  # waits for the worker, and comes first
        run.kill()
        assert server.ended(other, within_s=600)["state_type"] == "COMPLETED"
        for more in (True, False):
            ended = server.ended(run.run, within_s=600)
            assert ended["state_type"] == "FAILED", ended["state"]
            assert "is no longer the table that was to be trained on" in ended["state"]["message"]
            if more:
                server.retry(run.run)  # it has its plan, and keeps to it
        another = server.ended(server.start(run.pool, "lifecycle"), within_s=900)
        assert another["state_type"] == "COMPLETED", another["state"]


def _retrainings(server: House, pool: str) -> list[dict[str, Any]]:
    deployment = server.deployments(pool)["retrain"]["id"]
    return server.ask("flow_runs", deployments={"id": {"any_": [deployment]}})
