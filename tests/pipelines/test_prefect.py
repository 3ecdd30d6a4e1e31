"""The steps as Prefect's tasks: whose functions they are, what is kept of them, and what is tried again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prefect.states import Failed
from prefect.tasks import Task

from mlops.contract import load_use_case
from mlops.errors import ConfigError, InputError, MlopsError, ParityError, SetupError
from mlops.settings import Settings
from mlops.tables import FeatureTable, write_table_meta
from monitoring.results import RetrainRequest
from monitoring.rules import close_request
from pipelines import flows, lifecycle, prefect_artifacts, retrain, watching
from pipelines.environment import as_environment, in_environment
from pipelines.features import FeaturesResult
from pipelines.prefect_deployments import Plan
from pipelines.prefect_results import JsonResults, OncePerRun, Under, training_keys
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
        "ingest", "update_features", "train_one", "judge", "register", "fill_store", "promote", "monitor",
    }  # fmt: skip
    others: dict[str, Callable[..., Any]] = {
        "training_keys": training_keys,
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


def _table(folder: Path, fingerprint: str) -> Path:
    declared = load_use_case("usecases.fraud").features
    meta = FeatureTable(
        rows=1, unlabelled=0, features=declared, events=("0",), whole_number_ids=(), fingerprint=fingerprint
    )
    folder.mkdir(exist_ok=True)
    write_table_meta(folder, meta)
    return folder


def test_a_training_is_known_by_all_that_it_follows_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(candidate: str = "logistic-regression", **changes: Any) -> str:
        asked = {"first_day": date(2018, 4, 10), "table": _table(tmp_path / "features", "a"), "seed": 0}
        (only,) = training_keys(
            Settings(home=tmp_path), [candidate], **{**asked, "effort": "quick", **changes}
        ).values()
        return only

    first = key()
    assert first == key() and first.startswith("trained/logistic-regression-")
    assert first == key(table=_table(tmp_path / "elsewhere", "a"))
    changed = [
        key(seed=1),
        key(effort="full"),
        key(first_day=date(2018, 4, 11)),
        key(candidate="watchful-trees"),
        key(table=_table(tmp_path / "other", "b")),
    ]
    use_case = load_use_case("usecases.fraud")
    gate = msgspec.structs.replace(use_case.policy.gate, parity_rows=7)
    policy = msgspec.structs.replace(use_case.policy, gate=gate)
    other = msgspec.structs.replace(use_case, policy=policy)
    monkeypatch.setattr("pipelines.prefect_results.load_use_case", lambda _: other)
    changed.append(key())
    monkeypatch.undo()
    monkeypatch.setattr("pipelines.prefect_results.code_digest", lambda *_: "other code")
    changed.append(key())
    assert len({first, *changed}) == len(changed) + 1


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


def test_silence_is_longer_than_the_time_between_two_heartbeats() -> None:
    with pytest.raises(ConfigError, match="at least 60"):
        Plan(events="s3://raw-events", silence_s=59)


@pytest.mark.parametrize("cron", ["nonsense", "0 10 1 * * *", "61 1 * * *", ""])
def test_a_schedule_has_the_five_fields_of_cron(cron: str) -> None:
    with pytest.raises(ConfigError, match="is no schedule"):
        Plan(events="s3://raw-events", retrain=cron)


def test_a_run_that_was_killed_too_often_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.flow_run, "run_count", 6, raising=False)
    with pytest.raises(MlopsError, match="was begun 5 times, and killed each time"):
        flows.features.fn("s3://raw-events")


def test_a_run_that_is_late_is_still_for_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2018, 7, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    monkeypatch.setattr(flows.flow_run, "scheduled_start_time", moment, raising=False)
    assert flows.day_of_run() == date(2018, 7, 1)
