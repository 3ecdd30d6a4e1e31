"""MLflow as the record of runs: one database, one experiment a use case, one run a candidate."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock

from mlops.errors import ConfigError
from mlops.quiet import telemetry_off
from mlops.settings import Settings, without_password
from mlops.storage import one_writer, replace_file
from training.postgresql import is_postgresql, locked, reach, unreachable

# MLflow reads its environment when it is imported.
telemetry_off()
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow.store.db_migrations  # noqa: E402
from alembic.script import ScriptDirectory  # noqa: E402
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

# It logs a lost connection with its traceback, and then raises what says the same.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

_MIGRATION_S = 120.0
_LOST = ("TEMPORARILY_UNAVAILABLE",)
_ATTEMPT = "attempt"  # the tag of a run
_OLD_SCHEMA = "out-of-date database schema"

__all__ = [
    "MlflowClient",
    "MlflowException",
    "client",
    "connected",
    "dataset_input",
    "is_server",
    "log_all",
    "prepare_tracking",
    "tracked_run",
]


def client(settings: Settings) -> MlflowClient:
    """A client of the tracking and registry store; makes the local database if it is not there.

    Raises:
        ConfigError: the setting `tracking_uri` is not of a kind that MLflow can use here, or the database is another
            MLflow's.
        SetupError: the database cannot be reached.
    """
    if not settings.tracking_uri:
        _make_database(settings)
    try:
        with _schema_of_this_mlflow(settings.tracking_uri):
            return MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=settings.mlflow_uri)
    except (MlflowException, ImportError) as error:  # the latter for a database's driver
        if _OLD_SCHEMA in str(error):
            raise _of_another_mlflow(settings.mlflow_uri) from None
        if not settings.tracking_uri:
            raise
        raise ConfigError(
            f"MLflow cannot use it: {' '.join(str(error).split())}",
            where="MLOPS_TRACKING_URI",
            todo="name a server (https://…) or a database (sqlite:///…, postgresql+psycopg://…)",
        ) from None


@contextmanager
def _schema_of_this_mlflow(uri: str) -> Iterator[None]:
    """See that MLflow finds its schema in a PostgreSQL database, or makes it while nobody else does.

    MLflow would migrate an older one unasked where tables are missing, with no backup, while others work on it.
    """
    if not is_postgresql(uri):
        yield
        return
    revision = reach(uri)
    if revision is None:
        with locked(uri, "mlflow schema", patience_s=_MIGRATION_S):
            yield
        return
    if revision != _revision():
        raise _of_another_mlflow(uri)
    yield


@cache
def _revision() -> str | None:
    """Of the schema that this MLflow works with."""
    return ScriptDirectory(str(Path(mlflow.store.db_migrations.__file__).parent)).get_current_head()


def _of_another_mlflow(uri: str) -> ConfigError:
    return ConfigError(
        "the database's schema is another MLflow's",
        where=without_password(uri),
        todo="install the same MLflow everywhere, make a backup, then run mlflow db upgrade",
    )


@contextmanager
def connected(settings: Settings) -> Iterator[MlflowClient]:
    """A client, and one clear error where its database goes away in the middle.

    Raises:
        ConfigError, SetupError: as for `client`; the latter also for a connection that was lost.
    """
    try:
        yield client(settings)
    except MlflowException as error:
        if error.error_code not in _LOST:
            raise
        raise unreachable(settings.mlflow_uri, error.__cause__ or error) from None


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
    with connected(settings) as mlflow:
        found = mlflow.get_experiment_by_name(experiment)
        if found is not None:
            return str(found.experiment_id)
        # A server knows its own place; without one MLflow would take a folder of whatever directory this runs in.
        location = None if is_server(settings) else settings.artifacts.as_uri()
        try:
            return str(mlflow.create_experiment(experiment, artifact_location=location))
        except MlflowException as error:
            found = mlflow.get_experiment_by_name(experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
            return str(found.experiment_id)  # another process was faster


def is_server(settings: Settings) -> bool:
    """Whether what records the runs is a server, which has pages and a place for artefacts of its own."""
    return settings.tracking_uri.startswith(("http://", "https://"))


@contextmanager
def tracked_run(settings: Settings, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """A run that ends as FINISHED, FAILED, or KILLED when it was interrupted.

    Of a home one at a time has this name, and others wait. A run whose process was killed is ended by the next.
    """
    experiment_id = prepare_tracking(settings, experiment)
    folder = settings.bundles / name.replace(" ", "-")  # where its results go, too
    mark = folder / "unfinished"
    with one_writer(folder), connected(settings) as mlflow:
        if mark.exists():
            _end_killed(mlflow, experiment_id, mark.read_text())
        attempt = uuid.uuid4().hex
        with replace_file(mark) as path:  # before there is a run, so that none is without
            path.write_text(attempt)
        run = mlflow.create_run(experiment_id, run_name=name, tags={**tags, _ATTEMPT: attempt})
        status = "KILLED"
        try:
            yield run
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            mlflow.set_terminated(run.info.run_id, status)
            mark.unlink(missing_ok=True)


def _end_killed(mlflow: MlflowClient, experiment_id: str, attempt: str) -> None:
    """Say of what was killed, the run and those below it, that it was."""
    for run in mlflow.search_runs([experiment_id], f"tags.{_ATTEMPT} = '{attempt}'"):
        below = mlflow.search_runs([experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
        for each in (*below, run):
            if each.info.status == "RUNNING":
                mlflow.set_terminated(each.info.run_id, "KILLED")


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
    at = int(run.info.start_time)
    entries = [Metric(key, value, at, 0) for key, value in metrics.items()]
    entries += [Metric(name, value, at, step) for name, value, step in history]
    entered = [Param(key, str(value)) for key, value in params.items()]
    with connected(settings) as mlflow:
        mlflow.log_batch(run.info.run_id, entries, entered, list[RunTag]())
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
