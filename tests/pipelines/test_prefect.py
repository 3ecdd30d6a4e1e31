"""The steps as Prefect's tasks: whose functions they are, what is kept of them, and what is tried again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from prefect.events.schemas.automations import Posture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed
from prefect.tasks import Task

from mlops.contract import load_use_case
from mlops.errors import ConfigError, InputError, ParityError, SetupError
from mlops.settings import Settings
from monitoring.results import RetrainRequest
from monitoring.rules import close_request
from pipelines import flows, lifecycle, prefect_artifacts, retrain, watching
from pipelines.cli import main
from pipelines.environment import as_environment, in_environment
from pipelines.features import FeaturesResult
from pipelines.prefect_automations import automations_of
from pipelines.prefect_deployments import Plan
from pipelines.prefect_results import JsonResults, OncePerRun, Under
from pipelines.prefect_tasks import RETRIES, TASKS, step
from pipelines.watching import Live

REQUEST = RetrainRequest(
    reason="worse",
    evidence={"figure": 0.25},
    requested_on="2018-07-01",
    train_from="2018-06-01",
    not_before="2018-07-09",
)


def test_each_task_is_the_function_of_the_lifecycle_itself() -> None:
    own = {name: getattr(lifecycle, name) for name in TASKS if name in lifecycle.__all__}
    assert set(own) == {
        "ingest", "update_features", "plan", "train_one", "judge", "register", "fill_store", "promote", "monitor",
    }  # fmt: skip
    others: dict[str, Callable[..., Any]] = {
        "collect_logs": watching.collect_logs,
        "write_reports": watching.write_reports,
        "due_request": retrain.due_request,
        "compute_live_features": retrain.compute_live_features,
        "close_request": close_request,
        **{name: getattr(prefect_artifacts, name) for name in prefect_artifacts.__all__},
    }
    assert {name: task.fn for name, task in TASKS.items()} == own | others


def test_each_task_is_tried_again_later_and_later_and_not_for_ever() -> None:
    for task in TASKS.values():
        assert task.retries == RETRIES > 0
        assert task.retry_delay_seconds == [10.0, 20.0] and task.retry_jitter_factor
        assert task.timeout_seconds and task.timeout_seconds <= 8 * 3600


def test_no_flow_has_a_time_limit_as_prefect_would_not_interrupt_its_steps_any_more() -> None:
    for each in (flows.features, flows.monitor, flows.retrain, flows.lifecycle):
        assert each.timeout_seconds is None


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (InputError("a column is missing"), False),
        (ConfigError("no such candidate"), False),
        (ParityError("the graph differs"), False),
        (SetupError("the database does not answer"), True),
        (OSError("the network is down"), True),
    ],
)
def test_what_is_refused_is_not_tried_again(error: Exception, again: bool) -> None:
    task = TASKS["train_one"]
    assert task.retry_condition_fn is not None
    assert task.retry_condition_fn(task, _nothing(), Failed(data=error)) is again


@pytest.mark.parametrize(
    "result",
    [
        REQUEST,
        FeaturesResult(rows=3, unlabelled=1, seconds=0.5),
        Live(**{name: Path("/home/live") / name for name in Live.__struct_fields__}),
        None,
        ["trees", 3],
    ],
    ids=lambda result: type(result).__name__,
)
def test_a_result_is_kept_as_json_and_comes_back_the_same(result: Any) -> None:
    kept = JsonResults().dumps(result)
    assert "value" in msgspec.json.decode(kept)
    assert JsonResults().loads(kept) == result


def test_an_error_comes_back_as_what_it_was() -> None:
    error = JsonResults().loads(JsonResults().dumps(InputError("is empty", where="a.csv", todo="fill it")))
    assert isinstance(error, InputError) and error.line() == "a.csv: is empty; fill it"
    other = JsonResults().loads(JsonResults().dumps(ZeroDivisionError("by zero")))
    assert isinstance(other, RuntimeError) and str(other) == "ZeroDivisionError: by zero"


@pytest.mark.parametrize(
    "blob", [b"", b"{}", b'{"kind": "Path", "value": "/"}', b'{"kind": "Release", "value": 3}']
)
def test_what_is_no_result_is_refused(blob: bytes) -> None:
    with pytest.raises(InputError, match="not a step's result"):
        JsonResults().loads(blob)


def test_what_no_step_returns_is_not_kept() -> None:
    with pytest.raises(TypeError, match="no result of a step"):
        JsonResults().dumps(Settings())


def _nothing() -> Any:
    return SimpleNamespace()


def _context(run: str | None, task: Task[..., Any]) -> Any:
    return SimpleNamespace(task_run=SimpleNamespace(flow_run_id=run), task=task)


def test_a_step_is_run_once_in_a_run_and_again_in_another() -> None:
    def key(run: str | None, **inputs: Any) -> str | None:
        return OncePerRun().compute_key(_context(run, TASKS["ingest"]), inputs, {})

    same = key("one", settings=Settings(), source="a", as_of=date(2018, 7, 1))
    assert same == key("one", settings=Settings(), source="a", as_of=date(2018, 7, 1))
    assert same != key("two", settings=Settings(), source="a", as_of=date(2018, 7, 1))
    assert same != key("one", settings=Settings(), source="b", as_of=date(2018, 7, 1))
    assert key(None, settings=Settings()) is None


def test_a_training_is_kept_under_its_name() -> None:
    assert Under(name="trained/x").compute_key(_context("run", TASKS["train_one"]), {}, {}) == "trained/x"


def test_results_lie_in_the_home(tmp_path: Path) -> None:
    assert step(Settings(home=tmp_path), "ingest").result_storage == tmp_path / "prefect" / "results"


def test_the_regular_request_trains_on_the_latest_days_whose_labels_are_due() -> None:
    use_case = load_use_case("usecases.fraud")
    request = retrain.regular_request(Settings(), date(2018, 8, 1))
    span = date(2018, 8, 1) - date.fromisoformat(request.train_from)
    assert span.days == use_case.policy.split.days + use_case.label.delay_days  # type: ignore[union-attr]
    assert request.not_before == "2018-08-01"


def test_the_settings_reach_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, store="redis://127.0.0.1/0", user="ann")
    assert Settings.from_env(as_environment(settings)) == settings
    monkeypatch.setenv("MLOPS_USER", "bob")
    with in_environment(settings):
        assert Settings.from_env() == settings
    assert Settings.from_env().user == "bob"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "PREFECT_API_URL: is not set; name a server"),
        ("http://127.0.0.1:9/api", "http://127.0.0.1:9/api: Prefect does not answer; start it"),
    ],
)
def test_without_a_server_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "PREFECT_API_URL": url})
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path), "prefect", "deploy", "--events", "s3://raw-events"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"mlops: {said}")


def test_silence_is_longer_than_the_time_between_two_heartbeats() -> None:
    with pytest.raises(ConfigError, match="at least 60"):
        Plan(events="s3://raw-events", silence_s=59)


@pytest.mark.parametrize("cron", ["nonsense", "0 10 1 * * *", "61 1 * * *", ""])
def test_a_schedule_has_the_five_fields_of_cron(cron: str) -> None:
    with pytest.raises(ConfigError, match="is no schedule"):
        Plan(events="s3://raw-events", retrain=cron)


def test_a_run_that_is_late_is_still_for_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2018, 7, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    monkeypatch.setattr(flows.flow_run, "scheduled_start_time", moment, raising=False)
    assert flows.day_of_run() == date(2018, 7, 1)


@pytest.mark.parametrize("flow", ["features", "lifecycle"])
@pytest.mark.parametrize(
    ("asked", "judged"),
    [
        ({}, None),  # an archive
        ({"fresh": True}, date(2018, 7, 2)),
        ({"fresh": True, "as_of": date(2018, 6, 1)}, date(2018, 6, 1)),
        ({"as_of": date(2018, 6, 1)}, date(2018, 6, 1)),
    ],
)
def test_freshness_is_judged_as_of_the_run_s_day_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, flow: str, asked: dict[str, Any], judged: date | None
) -> None:
    class Told(Exception):
        """What `ingest` was told."""

    def ingest(*_: Any, as_of: date | None, **__: Any) -> None:
        raise Told(as_of)

    moment = datetime(2018, 7, 2, 1, 10, tzinfo=timezone(timedelta(0)))
    monkeypatch.setattr(flows.flow_run, "scheduled_start_time", moment, raising=False)
    monkeypatch.setattr(flows, "_home", lambda: nullcontext(Settings()))
    monkeypatch.setattr(flows, "step", lambda *_: ingest)
    with pytest.raises(Told) as told:
        getattr(flows, flow).fn("s3://raw-events", **asked)
    assert told.value.args == (judged,)


def test_every_state_that_a_run_is_alive_or_ended_in_is_known_where_silence_is_waited_for() -> None:
    silent, late = (
        automation.trigger
        for automation in automations_of(
            "life", "mlops.home./home", tag="life-flow", retraining=uuid4(), silence=timedelta(minutes=1)
        )
        if automation.trigger.posture == Posture.Proactive and "Running" in str(automation.trigger)
    )
    ends = {"Completed", flows.NOTHING_DUE, "Failed", "Crashed", "Cancelled", "TimedOut"}
    for trigger in (silent, late):
        known = {event.removeprefix("prefect.flow-run.") for event in trigger.expect}
        assert known >= ends | {"heartbeat", "Running", "Rerunning", "Retrying"}


def test_a_flow_that_is_never_to_run_by_the_clock_may_be_deployed() -> None:
    assert Plan(events="s3://raw-events", monitor="never").monitor == "never"


@pytest.mark.parametrize("events", ["https://ann:secret@events.example.com/raw", "s3://:secret@raw-events"])
def test_a_password_does_not_become_a_flow_s_parameter(
    events: str,
) -> None:
    with pytest.raises(ConfigError, match="holds a password, which Prefect would keep") as refused:
        Plan(events=events)
    assert "secret" not in str(refused.value)
