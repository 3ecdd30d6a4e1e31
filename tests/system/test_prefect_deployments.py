"""Deployments, what follows from events, what is shown of a run, and what becomes of one that is killed or late.

All on one real Prefect server. One home is left alone and lives by its flows. Of another one a training, and then the
worker with all that it runs, is killed meanwhile: a minute passes until the server hears that nobody is there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.settings import Settings
from monitoring.rules import REQUEST
from tests.e2e.engines import deliver, outcome
from tests.system.prefect_asked import serve_and_ask
from tests.system.prefect_disturbed import Disturbed, Left, assert_same, disturbed, left
from tests.system.prefect_house import House, house_on_postgresql, wait
from training import registry

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Two homes, and what came of the first run of the one that was left alone.

    Fields:
        deployed: what `deploy` answered.
        day: the events of the day after those that it took.
        first: its first run, and what that left.
    """

    server: House
    settings: Settings
    deployed: str
    month: Path
    day: Path
    first: dict[str, Any]
    left: Left
    killed: Disturbed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_on_postgresql(tmp_path_factory.mktemp("prefect")) as started:
        yield started


@pytest.fixture(scope="module")
def begun(server: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    folder = tmp_path_factory.mktemp("homes")
    home, (month, day) = folder / "life" / "home", deliver(folder / "events")
    with ThreadPoolExecutor(1) as beside:
        deployed = beside.submit(server.deploy, home, "life", events=month)
        with (
            disturbed(server, folder / "killed", month, ["train_one"], "register") as killed,
            server.worker(home, "life"),
        ):
            answer = deployed.result()
            run = server.start("life", "lifecycle")
            killed.kill()
            first = server.ended(run, within_s=600)
            assert first["state_type"] == "COMPLETED", first["state"]
            yield Begun(
                server=server,
                settings=Settings(home=home, usecase="tests.e2e.two_candidates"),
                deployed=answer,
                month=month,
                day=day,
                first=first,
                left=left(home),
                killed=killed,
            )


def test_a_run_says_what_came_of_it_and_shows_it(begun: Begun) -> None:
    first = begun.first
    champion = begun.left.outcome.champion
    assert champion is not None
    assert first["state"]["message"] == f"the gate admitted {champion[1]} as version {champion[0]}"
    shown = _shown(begun.server, first["id"])
    assert set(shown) == {
        "candidates",
        "evaluation-logistic-regression",
        "evaluation-watchful-trees",
        "gate",
    }
    assert "version" in shown["gate"] and "- Passed:" in shown["gate"]
    assert '"framework": "scikit-learn"' in shown["candidates"]
    assert Path(shown[f"evaluation-{champion[1]}"].split("\n```\n")[1]).is_file()
    steps = _steps(begun.server, first["id"])
    assert steps["train watchful-trees"] == steps["train logistic-regression"] == "Completed"


def test_what_was_trained_is_not_trained_again(begun: Begun) -> None:
    server = begun.server
    registered = registry.history(begun.settings)
    again = server.ended(server.start("life", "lifecycle"), within_s=600)
    assert again["state"]["message"] == "the gate refused all 2 candidates"  # none is better than itself
    steps = _steps(server, again["id"])
    assert steps["train watchful-trees"] == steps["train logistic-regression"] == "Cached"
    assert registry.history(begun.settings)[: len(registered)] == registered
    assert outcome(begun.settings.home).champion == begun.left.outcome.champion


def test_what_a_flow_is_refused_is_told_in_one_line(server: House, tmp_path: Path) -> None:
    done = server.command(tmp_path / "home", "prefect", "run", "--events", tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith(f"mlops: {tmp_path / 'nowhere'}: ") and done.stderr.count("\n") == 1


def test_a_step_over_its_time_is_ended_with_its_java_and_tried_again_or_its_process_ends(
    server: House, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.prefect_late", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=900,
        env=server.environment(),
        check=False,
    )
    assert done.stdout.splitlines() == [
        "tried",
        "tried",
        "nothing of the first try is left",
        "another Java counts to 3",
        "in native code",
    ], done.stderr[-2000:]
    assert done.returncode == 1
    said, where = done.stderr.partition("Timeout (")[1:]
    assert said and "in in_native_code" in where


def test_a_request_of_monitoring_starts_a_retraining_and_anybody_may_ask(begun: Begun) -> None:
    server, settings = begun.server, begun.settings
    serve_and_ask(settings, begun.day)
    before = {run["id"] for run in _runs(server, "life", "retrain")}
    looked = server.ended(server.start("life", "monitor", as_of="2018-05-02"), within_s=300)
    assert looked["state_type"] == "COMPLETED", looked["state"]
    assert set(_shown(server, looked["id"])) == {"drift", "look"}
    wait(
        lambda: len(_runs(server, "life", "retrain")) > len(before),
        within_s=120,
        what=lambda: str(server.ask("events")),
    )
    (asked,) = (run for run in _runs(server, "life", "retrain") if run["id"] not in before)
    retrained = server.ended(asked["id"], within_s=600)
    assert retrained["state_type"] == "COMPLETED", retrained["state"]
    assert "gate" in retrained["state"]["message"]
    assert not (settings.monitoring / REQUEST).exists()
    assert outcome(settings.home).champion == begun.left.outcome.champion  # promotion stays a person's

    event = {
        "id": str(uuid.uuid4()),
        "event": "mlops.drift.retrain-due",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"mlops.home.{settings.home}"},
    }
    server.emit(event)  # by somebody else
    wait(
        lambda: len(_runs(server, "life", "retrain")) == len(before) + 2,
        within_s=120,
        what=lambda: str(_runs(server, "life", "retrain")),
    )
    (last,) = (
        run
        for run in _runs(server, "life", "retrain")
        if run["id"] not in before and run["id"] != asked["id"]
    )
    assert server.ended(last["id"], within_s=300)["state_name"] == "NothingDue"


def test_deployed_again_there_is_one_of_each_with_its_schedule_and_its_limit(begun: Begun) -> None:
    server = begun.server
    words = ("prefect", "deploy", "--events", "s3://raw-events", "--pool", "life", "--against", "2018-06-01")
    again = server.command(begun.settings.home, *words, "--json")
    assert again.returncode == 0, again.stderr[-2000:]
    assert json.loads(again.stdout) == json.loads(begun.deployed)

    deployments = server.deployments("life")
    clocks = {
        name: [(each["schedule"]["cron"], each["schedule"]["timezone"]) for each in deployment["schedules"]]
        for name, deployment in deployments.items()
    }
    assert clocks == {
        "features": [("10 1 * * *", "UTC")],
        "monitor": [("10 3 * * *", "UTC")],
        "retrain": [("10 4 * * 0", "UTC")],
        "lifecycle": [],
    }
    assert deployments["features"]["parameters"] == {"events": "s3://raw-events"}
    assert deployments["features"]["schedules"][0]["parameters"] == {"fresh": True}
    assert deployments["monitor"]["parameters"] == {"against": "2018-06-01"}
    assert deployments["retrain"]["schedules"][0]["parameters"] == {"regularly": True}
    assert {each["entrypoint"] for each in deployments.values()} == {
        f"pipelines.flows.{name}" for name in deployments
    }
    (pool,) = (each for each in server.ask("work_pools") if each["name"] == "life")
    assert (pool["type"], pool["concurrency_limit"]) == ("process", 1)
    automations = [each for each in server.ask("automations") if each["name"].startswith("life: ")]
    assert len(automations) == 5 and all(each["enabled"] for each in automations)
    (silent,) = (each for each in automations if each["name"].endswith("silent has crashed"))
    assert (silent["trigger"]["posture"], silent["trigger"]["within"]) == ("Proactive", 150)


def test_killed_in_training_and_with_its_worker_a_run_comes_to_the_same(begun: Begun) -> None:
    assert_same(begun.server, begun.killed, begun.left)
    assert not (begun.server.folder / "nobody").exists()  # the home folder of whoever runs it


def _shown(server: House, run: str) -> dict[str, str]:
    """The artifacts of a run: what they hold, by their key."""
    return {each["key"]: each["data"] for each in server.ask("artifacts") if each["flow_run_id"] == run}


def _runs(server: House, pool: str, flow: str) -> list[dict[str, Any]]:
    """The runs of a deployment that have been begun, or wait to be."""
    deployment = server.deployments(pool)[flow]["id"]
    return [
        run
        for run in server.ask("flow_runs", deployments={"id": {"any_": [deployment]}})
        if not run["auto_scheduled"]
    ]


def _steps(server: House, run: str) -> dict[str, str]:
    """How each task of a run ended."""
    wanted = {"flow_run_id": {"any_": [run]}}

    def complete() -> bool:
        found = server.ask("task_runs", task_runs=wanted)
        return bool(found) and all(each["state_type"] in ("COMPLETED", "FAILED") for each in found)

    wait(complete, within_s=60, what=lambda: str(server.ask("task_runs", task_runs=wanted)))
    return {each["name"]: each["state_name"] for each in server.ask("task_runs", task_runs=wanted)}
