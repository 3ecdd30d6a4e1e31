"""MLflow as the record of runs: one database, one experiment a use case, one run a candidate."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from mlops.errors import ConfigError
from mlops.quiet import telemetry_off
from mlops.settings import Settings
from mlops.storage import replace_file

# MLflow reads its environment when it is imported.
telemetry_off()
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

__all__ = [
    "MlflowClient",
    "MlflowException",
    "client",
    "dataset_input",
    "git_commit",
    "log_all",
    "prepare_tracking",
    "tracked_run",
]


def client(settings: Settings) -> MlflowClient:
    """A client of the tracking and registry store; makes the local database if it is not there.

    Raises:
        ConfigError: the setting `tracking_uri` is not of a kind that MLflow can use here.
    """
    if not settings.tracking_uri:
        _make_database(settings)
    try:
        return MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=settings.mlflow_uri)
    except (MlflowException, ImportError) as error:  # the latter for a database's driver
        if not settings.tracking_uri:
            raise
        raise ConfigError(
            f"MLflow cannot use it: {' '.join(str(error).split())}",
            where="MLOPS_TRACKING_URI",
            todo="name a server (https://…) or a database (sqlite:///…, postgresql://…)",
        ) from None


def _make_database(settings: Settings) -> None:
    """Aside, and by one process: MLflow's migrations take a second, and two at once break each other."""
    database = Path(settings.mlflow_uri.removeprefix("sqlite:///"))
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock")):
        if not database.exists():
            with replace_file(database) as aside:
                MlflowClient(tracking_uri=f"sqlite:///{aside}")


def prepare_tracking(settings: Settings, experiment: str) -> str:
    """Make the database and the experiment if they are not there; return the experiment's id.

    Several processes may call it at once.

    Raises:
        SetupError: the device is full.
    """
    mlflow = client(settings)
    found = mlflow.get_experiment_by_name(experiment)
    if found is not None:
        return str(found.experiment_id)
    location = None if settings.tracking_uri else settings.artifacts.as_uri()
    try:
        return str(mlflow.create_experiment(experiment, artifact_location=location))
    except MlflowException as error:
        found = mlflow.get_experiment_by_name(experiment)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)  # another process was faster


@contextmanager
def tracked_run(settings: Settings, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """A run that ends as FINISHED, FAILED, or KILLED when it was interrupted."""
    experiment_id = prepare_tracking(settings, experiment)
    mlflow = client(settings)
    run = mlflow.create_run(experiment_id, run_name=name, tags=dict(tags))
    status = "KILLED"
    try:
        yield run
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        mlflow.set_terminated(run.info.run_id, status)


def log_all(
    settings: Settings,
    run: Run,
    *,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    history: list[tuple[str, float, int]],
    datasets: list[DatasetInput],
) -> None:
    """Write parameters, final metrics, metrics by epoch (name, value, step) and data sets into the run."""
    mlflow = client(settings)
    at = int(run.info.start_time)
    entries = [Metric(key, value, at, 0) for key, value in metrics.items()]
    entries += [Metric(name, value, at, step) for name, value, step in history]
    mlflow.log_batch(
        run.info.run_id, entries, [Param(key, str(value)) for key, value in params.items()], list[RunTag]()
    )
    try:
        mlflow.log_inputs(run.info.run_id, datasets)
    except MlflowException as error:
        # Candidates train at once on one data set. Each enters it if MLflow has it not, and one comes second.
        if "unique" not in str(error).lower():
            raise
        mlflow.log_inputs(run.info.run_id, datasets)


def dataset_input(name: str, uri: Path, digest: str, context: str) -> DatasetInput:
    """A data set that a run used, and for what (`context`: training, test)."""
    held = Dataset(name=name, digest=digest[:36], source_type="local", source=f'{{"uri": "{uri}"}}')
    return DatasetInput(held, [InputTag("mlflow.data.context", context)])


def git_commit() -> str:
    """The commit of the checkout that this code lies in, or nothing outside of one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
