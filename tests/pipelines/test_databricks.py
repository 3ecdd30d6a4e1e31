"""The bundle's jobs do what their names say, run here by a stand-in for Databricks' scheduler."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import msgspec
import numpy as np
import pytest
from mlflow.store._unity_catalog.registry.rest_store import UcModelRegistryStore
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession

from mlops.bundle import open_bundle
from mlops.contract import load_use_case
from mlops.deployment import read_deployment
from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.tables import EventTable, FeatureTable, read_feature_table, write_table_meta
from monitoring.results import RetrainRequest
from monitoring.rules import request_retrain
from pipelines import lifecycle
from pipelines.cli import main
from pipelines.databricks import challenger, gate, plan, retraining_due, train
from pipelines.export import export_source
from pipelines.ports import free_port
from pipelines.replay import Recording, replay
from pipelines.server import running_server
from pipelines.unity_catalog import BUNDLE, Published, publish, write_mlflow_model
from tests.infra.bundle import NOTEBOOKS, load, resolved
from tests.pipelines.databricks_jobs import run_job, run_notebook
from tests.training import example
from tests.training.registered import House, Models
from training import registry

# The use case has two candidates; the third of the job's cannot be trained.
STAND_INS = {"watchful-trees": "linear", "mlp-torch": "trees", "mlp-keras": "no such candidate"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a small use case, in the environment, where the commands and the notebooks look for them."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLOPS_USECASE", "usecases.breast_cancer")
    return Settings.from_env()


def job(name: str) -> dict[str, Any]:
    """A job as the target for development has it, with candidates of the small use case."""
    found = copy.deepcopy(resolved(load(), "dev")["jobs"][name])
    for task in found["tasks"]:
        given = task.get("notebook_task", {}).get("base_parameters", {})
        if "candidate" in given:
            given["candidate"] = STAND_INS[given["candidate"]]
    return found


def promotion_into(settings: Settings) -> dict[str, Any]:
    """The job `promotion`, with MLflow's own database in place of Unity Catalog."""
    made = job("promotion")
    (publication,) = (task for task in made["tasks"] if task["task_key"] == "publish")
    publication["notebook_task"]["base_parameters"]["registry"] = settings.mlflow_uri
    MlflowClient(settings.mlflow_uri, settings.mlflow_uri).create_registered_model("main.mlops.fraud")
    return made


def ask(settings: Settings, not_before: str) -> None:
    """Leave monitoring's request to train again."""
    request = RetrainRequest(
        reason="drift",
        evidence={},
        requested_on="2026-01-20",
        train_from="2026-01-10",
        not_before=not_before,
    )
    request_retrain(settings.monitoring, request)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Which of the lifecycle's own steps were taken; they are taken for real."""
    taken: set[str] = set()

    def noted(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*args: Any, **kwargs: Any) -> Any:
            taken.add(name)
            return step(*args, **kwargs)

        return take

    for name in lifecycle.__all__:
        if inspect.isfunction(step := getattr(lifecycle, name)):
            monkeypatch.setattr(lifecycle, name, noted(name, step))
    return taken


def repaired(job: dict[str, Any]) -> dict[str, Any]:
    """The same run again from the gate on."""
    tasks = [task for task in job["tasks"] if not task["task_key"].startswith(("plan", "train_"))]
    (gate,) = (task for task in tasks if task["task_key"] == "gate")
    del gate["depends_on"], gate["run_if"]
    return job | {"tasks": tasks}


@pytest.mark.timeout(600)  # much of Spark and MLflow, on machines that may be busy
def test_the_jobs_lead_from_delivered_files_to_a_champion_and_its_copy(
    spark: SparkSession, settings: Settings, tmp_path: Path, steps: set[str]
) -> None:
    export_source(settings, str(tmp_path / "landing"))
    ended = run_job(job("features"), {"events": str(tmp_path / "landing")}, {})
    assert (ended["ingest"], ended["features"]) == ("success", "success")
    assert {"ingest", "update_features"} <= steps

    catalog = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    others = {"promotion": promotion_into(settings)}

    ended = run_job(job("training"), {"promote": "false"}, others)
    assert ended == {
        "plan": "success",
        "train_watchful_trees": "success",
        "train_mlp_torch": "success",
        "train_mlp_keras": "failed",
        "gate": "success",
        "allowed": "false",
        "promotion": "excluded",
    }
    assert registry.status(settings).champion is None
    assert {"plan", "train_one", "judge", "register"} <= steps

    ended = run_job(repaired(job("training")), {}, others)
    assert [ended[f"promotion.{task}"] for task in ("admitted", "deploy", "publish")] == [
        "true",
        "success",
        "success",
    ]
    assert "fill_store" in steps
    standing = registry.status(settings)
    assert standing.champion is not None and not standing.differences
    assert sum(len(versions) for versions in standing.stages.values()) == 2  # nothing is registered twice
    assert challenger(settings) == "none"

    catalog.delete_registered_model_alias(
        "main.mlops.fraud", "champion"
    )  # as if publication had died before it
    ended = run_job(repaired(job("training")), {}, others)  # none is better than the champion
    assert ended["gate"] == "success"
    assert [ended[f"promotion.{task}"] for task in ("admitted", "deploy", "publish")] == [
        "false",
        "excluded",
        "success",
    ]
    copied = catalog.get_model_version_by_alias("main.mlops.fraud", "champion")
    assert (copied.version, copied.tags["version"]) == (1, standing.champion)
    assert copied.tags["digest"] == read_deployment(settings.pointer).champion.digest

    features = read_feature_table(settings.features)  # as if the job `features` had written it meanwhile
    write_table_meta(settings.features, msgspec.structs.replace(features, fingerprint="another"))
    ended = run_job(job("training"), {}, others)
    assert (ended["plan"], ended["train_watchful_trees"], ended["gate"]) == ("success", "failed", "excluded")
    with pytest.raises(InputError, match="is no longer the table that was to be trained on"):
        train(settings, run="11", candidate="linear")

    held = registry.bundle_of(settings, standing.champion)
    write_mlflow_model(held, tmp_path / "model")
    # What Unity Catalog's client refuses before anything is sent.
    UcModelRegistryStore("databricks-uc", settings.mlflow_uri)._validate_model_signature(tmp_path / "model")
    rows = np.asarray(held.golden.features, np.float32)
    (scores,) = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows).values()
    np.testing.assert_allclose(scores.ravel(), held.golden.scores, atol=held.golden.tolerance)
    assert (
        open_bundle(tmp_path / "model" / BUNDLE, public_key=settings.keys / PUBLIC_KEY).digest == held.digest
    )


@pytest.mark.system
@pytest.mark.timeout(600)
def test_monitoring_looks_at_what_was_served_and_has_it_trained_on_where_a_request_is_due(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    export_source(settings, str(landing))
    main(["run", "--events", str(landing)])
    others = {"retraining": job("retraining"), "promotion": promotion_into(settings)}
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    days = {"as_of": tomorrow.isoformat(), "against": (tomorrow - timedelta(days=7)).isoformat()}

    def monitored() -> dict[str, str]:
        return run_job(job("monitoring"), days, others)

    assert monitored()["monitor"] == "failed"  # nothing was served yet
    use_case = load_use_case(settings.usecase)
    with running_server(settings, port=free_port()) as url:
        sent = replay(Recording([landing], use_case.events, use_case.label), url)
    assert sent.failed == 0
    ended = monitored()
    assert [ended[task] for task in ("monitor", "report", "request", "due", "retraining")] == [
        "success",
        "success",
        "success",
        "false",
        "excluded",
    ]
    ask(settings, tomorrow.isoformat())
    ended = monitored()
    assert [ended[task] for task in ("due", "retraining.retrain", "retraining.promotion")] == [
        "true",
        "success",
        "success",
    ]
    assert not retraining_due(settings, tomorrow.isoformat())
    stages = registry.status(settings).stages
    assert (
        sum(len(versions) for versions in stages.values()) == 4
    )  # two of the first training, two of this one


def test_a_champion_that_comes_back_has_its_copy_already(tmp_path: Path) -> None:
    house = House(example.settings(tmp_path / "home"), Models(tmp_path / "models"))
    catalog = MlflowClient(house.settings.mlflow_uri, house.settings.mlflow_uri)
    catalog.create_registered_model("main.mlops.fraud")

    def published() -> Published | None:
        return publish(house.settings, registry=house.settings.mlflow_uri, model="main.mlops.fraud")

    for number in (0, 1):
        house.promote(house.register(number))
        assert (
            published()
            == published()
            == Published(model="main.mlops.fraud", version=str(number + 1), of=str(number + 1))
        )
    registry.rollback(house.settings)
    assert published() == Published(model="main.mlops.fraud", version="1", of="1")
    assert catalog.get_model_version_by_alias("main.mlops.fraud", "champion").version == 1
    assert len(catalog.search_model_versions("name='main.mlops.fraud'")) == 2

    catalog.set_model_version_tag("main.mlops.fraud", "1", "digest", "as if it were another's")
    assert published() == Published(model="main.mlops.fraud", version="3", of="1")


def test_without_a_champion_there_is_nothing_to_publish(settings: Settings) -> None:
    assert publish(settings, registry=settings.mlflow_uri, model="main.mlops.fraud") is None


def test_the_gate_of_a_run_in_which_nothing_was_trained_says_so(settings: Settings) -> None:
    with pytest.raises(InputError, match="no candidate was trained"):
        gate(settings, run="11")


def test_a_day_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="train_from: 'monday' is not a date"):
        plan(settings, run="11", train_from="monday")
    with pytest.raises(ConfigError, match="as_of: 'today' is not a date"):
        retraining_due(settings, "today")
    with pytest.raises(ConfigError, match="as_of: no day was given"):
        retraining_due(settings, "")


def test_what_was_not_planned_is_not_trained(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"plan\.json: no such file"):
        train(settings, run="11", candidate="linear")


def test_a_run_that_is_repaired_keeps_its_plan(settings: Settings) -> None:
    def write(fingerprint: str) -> None:
        for table in (settings.events, settings.features):
            table.mkdir(parents=True, exist_ok=True)
        events = EventTable(
            rows=0, whole_number_ids=(), first_event="", last_event="", fingerprint=f"of {fingerprint}"
        )
        features = FeatureTable(
            rows=0,
            unlabelled=0,
            features=load_use_case(settings.usecase).features,
            events=(events.fingerprint,),
            whole_number_ids=(),
            fingerprint=fingerprint,
        )
        write_table_meta(settings.events, events)
        write_table_meta(settings.features, features)

    write("one")
    planned = plan(settings, run="11")
    assert planned.fingerprint == "one"
    write("another")  # as the job `features` would
    assert plan(settings, run="11") == planned  # tried again
    assert plan(settings, run="12").fingerprint == "another"


@pytest.mark.parametrize(
    ("not_before", "due"), [(None, "false"), ("2026-02-01", "true"), ("2026-02-02", "false")]
)
def test_monitorings_condition_asks_whether_a_request_is_due(
    settings: Settings, not_before: str | None, due: str
) -> None:
    if not_before:
        ask(settings, not_before)
    assert run_notebook(NOTEBOOKS / "request.py", {"as_of": "2026-02-01"}) == {"due": due}
