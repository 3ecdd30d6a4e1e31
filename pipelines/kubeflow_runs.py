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
from kfp import Client, local
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from mlops.errors import MlopsError, SetupError
from mlops.settings import Settings
from mlops.storage import read_json
from pipelines.conclusion import CONCLUSION, Conclusion
from pipelines.environment import in_environment
from pipelines.kubeflow import NAME, build
from pipelines.kubeflow_lines import short_lines, uncoloured
from pipelines.kubeflow_pods import Options

__all__ = ["Schedule", "run_here", "schedule"]

_PAGE = 100


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A recurring run; `replaced` are those of its name that it took the place of."""

    id: str
    name: str
    cron: str
    arguments: dict[str, Any]
    replaced: tuple[str, ...]


def run_here(
    settings: Settings, arguments: Mapping[str, Any], options: Options, *, verbose: bool = False
) -> Conclusion:
    """Run the pipeline with Kubeflow's local runner: each task in a process of its own, two of a loop at once.

    Artifacts and the cache of trainings lie in `kubeflow/` of the home.

    Args:
        verbose: print all that the runner prints, not only what `kubeflow_lines` lets through.

    Raises:
        MlopsError: a task failed; which, and why in its own words.
    """
    root = settings.home / "kubeflow"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), enable_caching=True)
    with in_environment(settings), short_lines(whole=verbose) as lines, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that images and resources are not looked at here
        try:
            build(options)(**arguments)
        except RuntimeError as error:
            told = [f"task {failure}" for failure in lines.failures] or [uncoloured(str(error))]
            raise MlopsError("; ".join(told), where=NAME) from error
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
    token: str = "",
) -> Schedule:
    """Create a recurring run of a compiled pipeline; those of the same name go when it is there.

    Missed times are not made up for, and no run starts beside another one.

    Args:
        host: of Kubeflow's API.
        cron: six fields, seconds first, in UTC.
        namespace: of the profile, where Kubeflow has several users.
        token: who asks; without one, what the client finds: its own login, or a pod's.

    Raises:
        SetupError: Kubeflow does not answer, or refuses.
    """
    try:
        with _quiet():
            client = Client(host=host, existing_token=token or None)
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
