"""The bundle's jobs do what their names say, run here by a stand-in for Databricks' scheduler."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.store._unity_catalog.registry.rest_store import UcModelRegistryStore
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession

from mlops.bundle import open_bundle
from mlops.deployment import read_deployment
from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from monitoring.results import RetrainRequest
from monitoring.rules import request_retrain
from pipelines.databricks import challenger, gate, retraining_due, train
from pipelines.export import export_source
from pipelines.unity_catalog import BUNDLE, Published, publish, write_mlflow_model
from tests.infra.bundle import NOTEBOOKS, load, resolved
from tests.pipelines.databricks_jobs import run_job, run_notebook
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


def repaired(job: dict[str, Any]) -> dict[str, Any]:
    """The same run again from the gate on."""
    tasks = [task for task in job["tasks"] if not task["task_key"].startswith("train_")]
    (gate,) = (task for task in tasks if task["task_key"] == "gate")
    del gate["depends_on"], gate["run_if"]
    return job | {"tasks": tasks}


@pytest.mark.timeout(600)  # much of Spark and MLflow, on machines that may be busy
def test_the_jobs_lead_from_delivered_files_to_a_champion_and_its_copy(
    spark: SparkSession, settings: Settings, tmp_path: Path
) -> None:
    export_source(settings, str(tmp_path / "landing"))
    ended = run_job(job("features"), {"events": str(tmp_path / "landing")}, {})
    assert (ended["ingest"], ended["features"]) == ("success", "success")

    promotion = job("promotion")
    for task in promotion["tasks"]:
        if task["task_key"] == "publish":
            task["notebook_task"]["base_parameters"]["registry"] = settings.mlflow_uri
    catalog = MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
    catalog.create_registered_model("main.mlops.fraud")
    others = {"promotion": promotion}

    ended = run_job(job("training"), {"promote": "false"}, others)
    assert ended == {
        "train_watchful_trees": "success",
        "train_mlp_torch": "success",
        "train_mlp_keras": "failed",
        "gate": "success",
        "allowed": "false",
        "promotion": "excluded",
    }
    assert registry.status(settings).champion is None

    ended = run_job(repaired(job("training")), {}, others)
    assert [ended[f"promotion.{task}"] for task in ("admitted", "deploy", "publish")] == [
        "true",
        "success",
        "success",
    ]
    standing = registry.status(settings)
    assert standing.champion is not None and not standing.differences
    assert sum(len(versions) for versions in standing.stages.values()) == 2  # nothing is registered twice
    assert challenger(settings) == "none"

    ended = run_job(repaired(job("training")), {}, others)  # none is better than the champion
    assert ended["gate"] == "success"
    assert (ended["promotion.admitted"], ended["promotion.publish"]) == ("false", "excluded")

    again = publish(settings, registry=settings.mlflow_uri, model="main.mlops.fraud")
    assert again == Published(model="main.mlops.fraud", version="1", of=standing.champion)
    copied = catalog.get_model_version_by_alias("main.mlops.fraud", "champion")
    assert copied.tags["digest"] == read_deployment(settings.pointer).champion.digest

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


def test_without_a_champion_there_is_nothing_to_publish(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="nothing was promoted yet"):
        publish(settings, registry=settings.mlflow_uri, model="main.mlops.fraud")


def test_the_gate_of_a_run_in_which_nothing_was_trained_says_so(settings: Settings) -> None:
    with pytest.raises(InputError, match="no candidate was trained"):
        gate(settings, run="11")


def test_a_day_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="'monday' is not a date"):
        train(settings, run="11", candidate="linear", train_from="monday")
    with pytest.raises(ConfigError, match="as_of: 'today' is not a date"):
        retraining_due(settings, "today")


@pytest.mark.parametrize(
    ("not_before", "due"), [(None, "false"), ("2026-02-01", "true"), ("2026-02-02", "false")]
)
def test_monitorings_condition_asks_whether_a_request_is_due(
    settings: Settings, not_before: str | None, due: str
) -> None:
    if not_before:
        request_retrain(
            settings.monitoring,
            RetrainRequest(
                reason="drift",
                evidence={},
                requested_on="2026-01-20",
                train_from="2026-01-10",
                not_before=not_before,
            ),
        )
    assert run_notebook(NOTEBOOKS / "request.py", {"as_of": "2026-02-01"}) == {"due": due}
