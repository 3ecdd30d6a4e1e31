"""Running the Kubeflow pipeline: on this machine, or on a cluster by the clock."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import yaml
from kfp import Client, local
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from mlops.errors import ConfigError, MlopsError, SetupError
from mlops.settings import Settings
from mlops.storage import read_json
from pipelines.conclusion import CONCLUSION, Conclusion
from pipelines.environment import in_environment
from pipelines.kubeflow import NAME, build
from pipelines.kubeflow_pods import Options

__all__ = ["Schedule", "checked", "run_here", "schedule"]

_PAGE = 100
_KINDS = {"STRING": str, "BOOLEAN": bool, "NUMBER_INTEGER": int, "LIST": list}


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A recurring run; `replaced` are those of its name that it took the place of."""

    id: str
    name: str
    cron: str
    arguments: dict[str, Any]
    replaced: tuple[str, ...]


def checked(compiled: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, if the compiled pipeline has parameters of these names and types.

    Raises:
        ConfigError: it has not, or is no pipeline.
    """
    try:
        inputs = next(yaml.safe_load_all(compiled.read_text()))["root"]["inputDefinitions"]["parameters"]
    except (OSError, yaml.YAMLError, TypeError, KeyError, StopIteration):
        raise ConfigError("is no compiled pipeline", where=compiled, todo="mlops kubeflow compile") from None
    for name, value in arguments.items():
        if name not in inputs:
            raise ConfigError("no such parameter", where=name, todo=f"it has {', '.join(inputs)}")
        kind = _KINDS[inputs[name]["parameterType"]]
        if type(value) is not kind:
            raise ConfigError(f"{value!r} is not of type {kind.__name__}", where=name)
    return dict(arguments)


def run_here(settings: Settings, arguments: Mapping[str, Any], options: Options) -> Conclusion:
    """Run the pipeline with Kubeflow's local runner: each task in a process of its own, one after the other.

    Artifacts and the cache of trainings lie in `kubeflow/` of the home.

    Raises:
        MlopsError: a task failed; its own line stands in what was printed.
    """
    root = settings.home / "kubeflow"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), enable_caching=True)
    # Its lines are progress; and after tasks side by side it leaves the standard output indented.
    with in_environment(settings), redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that images and resources are not looked at here
        try:
            build(options)(**arguments)
        except RuntimeError:
            raise MlopsError(
                "a task failed", where=NAME, todo="what it says stands above, in the lines of its task"
            ) from None
    return read_json(settings.home / CONCLUSION, Conclusion)


def schedule(
    compiled: Path,
    arguments: Mapping[str, Any],
    *,
    host: str,
    cron: str,
    name: str = NAME,
    namespace: str = "",
    service_account: str = "",
) -> Schedule:
    """Create a recurring run of a compiled pipeline; those of the same name go when it is there.

    Missed times are not made up for, and no run starts beside another one.

    Args:
        host: of Kubeflow's API.
        cron: six fields, seconds first, in UTC.
        namespace: of the profile, where Kubeflow has several users.

    Raises:
        SetupError: Kubeflow does not answer, or refuses.
    """
    try:
        with _quiet():
            client = Client(host=host)
            experiment = client.create_experiment(name, namespace=namespace or None).experiment_id
            before = _named(client, experiment, name)
            created = client.create_recurring_run(
                experiment,
                name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(arguments),
                pipeline_package_path=str(compiled),
                service_account=service_account or None,
            )
            for old in before:
                client.delete_recurring_run(old)
    except (ApiException, HTTPError, TimeoutError) as error:
        why = error.reason if isinstance(error, ApiException) else "does not answer"
        raise SetupError(
            str(why).lower(), where=host, todo="is this Kubeflow's API, and may you use it?"
        ) from error
    return Schedule(
        id=created.recurring_run_id, name=name, cron=cron, arguments=dict(arguments), replaced=tuple(before)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the client says beside: its retries with their tracebacks, that it wants Kubeflow 2, and links."""
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.disable(logging.NOTSET)


def _named(client: Client, experiment: str, name: str) -> list[str]:
    """The recurring runs of this name."""
    wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    found = client.list_recurring_runs(
        experiment_id=experiment, page_size=_PAGE, filter=json.dumps(wanted)
    ).recurring_runs
    return [run.recurring_run_id for run in found or ()]
