"""Deployments, what follows from events, and what is shown of a run: on a real Prefect server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mlops.settings import Settings
from mlops.storage import write_json
from monitoring.results import RetrainRequest
from monitoring.rules import REQUEST
from pipelines.ports import free_port
from pipelines.replay import Recording, replay
from pipelines.server import running_server
from tests.e2e.engines import deliver, outcome
from tests.e2e.two_candidates import USE_CASE
from tests.system.prefect_house import House, house, wait
from training import registry

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("prefect")) as started:
        yield started


def test_deployed_twice_there_is_one_of_each_with_its_schedule_and_its_limit(
    server: House, tmp_path: Path
) -> None:
    words = ("prefect", "deploy", "--events", "s3://raw-events", "--pool", "twice", "--against", "2018-06-01")
    first = server.command(tmp_path / "home", *words, "--monitor", "5 5 * * *", "--json")
    assert first.returncode == 0, first.stderr[-2000:]
    again = server.command(tmp_path / "home", *words, "--json")
    assert again.returncode == 0, again.stderr[-2000:]
    assert again.stdout == first.stdout

    deployments = server.deployments("twice")
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
    assert deployments["monitor"]["parameters"] == {"against": "2018-06-01"}
    assert deployments["retrain"]["schedules"][0]["parameters"] == {"regularly": True}
    assert {each["entrypoint"] for each in deployments.values()} == {
        f"pipelines.flows.{name}" for name in deployments
    }
    (pool,) = (each for each in server.ask("work_pools") if each["name"] == "twice")
    assert (pool["type"], pool["concurrency_limit"]) == ("process", 1)
    automations = [each for each in server.ask("automations") if each["name"].startswith("twice: ")]
    assert len(automations) == 3 and all(each["enabled"] for each in automations)
    (silent,) = (each for each in automations if each["name"].endswith("silent has crashed"))
    assert (silent["trigger"]["posture"], silent["trigger"]["within"]) == ("Proactive", 150)


def test_without_a_server_the_command_says_what_to_set(tmp_path: Path, server: House) -> None:
    done = server.command(tmp_path, "prefect", "deploy", "--events", "x", PREFECT_API_URL="")
    assert done.returncode == 2
    assert done.stderr.startswith("mlops: PREFECT_API_URL: is not set; name a server")
    unreachable = server.command(
        tmp_path, "prefect", "deploy", "--events", "x", PREFECT_API_URL="http://127.0.0.1:9/api"
    )
    assert unreachable.returncode == 2
    assert unreachable.stderr.startswith("mlops: http://127.0.0.1:9/api: Prefect does not answer")


def test_what_a_flow_is_refused_is_told_in_one_line(tmp_path: Path, server: House) -> None:
    done = server.command(tmp_path / "home", "prefect", "run", "--events", tmp_path / "nowhere")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mlops: {tmp_path / 'nowhere'}: ")


def test_a_home_lives_by_its_flows(server: House, tmp_path: Path) -> None:
    """From a delivery to a champion; nothing is done twice; monitoring's request starts the retraining."""
    home, (month, day) = tmp_path / "home", deliver(tmp_path / "events")
    settings = Settings(home=home, usecase="tests.e2e.two_candidates")
    server.deploy(home, "life", events=month)
    with server.worker(home, "life"):
        first = server.ended(server.start("life", "lifecycle"), within_s=600)
        assert first["state_type"] == "COMPLETED", first["state"]
        champion = outcome(home).champion
        assert champion is not None
        assert first["state"]["message"] == f"the gate admitted {champion[1]} as version {champion[0]}"
        shown = {each["key"]: each for each in server.ask("artifacts") if each["flow_run_id"] == first["id"]}
        assert set(shown) == {
            "candidates",
            "evaluation-logistic-regression",
            "evaluation-watchful-trees",
            "gate",
        }
        assert "version" in shown["gate"]["data"] and "passed:" in shown["gate"]["data"]
        assert '"framework": "scikit-learn"' in shown["candidates"]["data"]
        steps = _steps(server, first["id"])
        assert steps["train watchful-trees"] == steps["train logistic-regression"] == "Completed"

        registered = registry.history(settings)
        second = server.ended(server.start("life", "lifecycle"), within_s=600)
        assert second["state"]["message"] == "the gate refused all 2 candidates"  # none is better than itself
        steps = _steps(server, second["id"])
        assert steps["train watchful-trees"] == steps["train logistic-regression"] == "Cached"
        assert registry.history(settings)[: len(registered)] == registered
        assert outcome(home).champion == champion

        with running_server(settings, port=free_port()) as url:
            recording, served = Recording([day], USE_CASE.events, USE_CASE.label), date(2018, 5, 1)
            assert replay(recording, url, first_day=served, last_day=served).failed == 0
        due = RetrainRequest(
            reason="it is worse",
            evidence={"figure": 0.1},
            requested_on="2018-05-02",
            train_from="2018-04-10",
            not_before="2018-05-02",
        )
        write_json(settings.monitoring / REQUEST, due)
        before = {run["id"] for run in _runs(server, "life", "retrain")}
        looked = server.ended(server.start("life", "monitor", as_of="2018-05-02"), within_s=300)
        assert looked["state_type"] == "COMPLETED", looked["state"]
        assert {each["key"] for each in server.ask("artifacts") if each["flow_run_id"] == looked["id"]} == {
            "drift",
            "look",
        }
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
        assert outcome(home).champion == champion  # promotion stays a person's

        event = {
            "id": str(uuid.uuid4()),
            "event": "mlops.drift.retrain-due",
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"mlops.home.{home}"},
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
    assert not (server.folder / "nobody").exists()


def _runs(server: House, pool: str, flow: str) -> list[dict[str, object]]:
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
