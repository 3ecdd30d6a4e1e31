"""The same steps as tasks of a Prefect flow, on the server that Prefect brings along."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from pipelines.view import View

__all__ = ["PrefectEngine", "configure", "run_as_flow"]

P = ParamSpec("P")
R = TypeVar("R")


def configure(home: Path) -> None:
    """Settings for a quiet embedded server whose database lies in `home`; call it before Prefect is imported.

    Settings that are set already are kept: PREFECT_API_URL leads to a server of one's own.
    """
    os.environ["PREFECT_HOME"] = str(home)  # profiles elsewhere may lead to other servers
    settings = {
        "PREFECT_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
    }
    home.mkdir(parents=True, exist_ok=True)
    for name, value in settings.items():
        os.environ.setdefault(name, value)


class PrefectEngine:
    """Runs each step as a task run, in this process and in the order of the calls."""

    def __init__(self, view: View) -> None:
        self._view = view

    def run(self, title: str, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        as_task = task(step, name=title, cache_policy=NO_CACHE, persist_result=False)
        with self._view.step(title):
            return as_task(*args, **kwargs)


def run_as_flow(name: str, body: Callable[[], R], *, home: Path) -> R:
    """Run `body`, whose steps go through a `PrefectEngine`, as one flow run."""
    configure(home)
    from prefect import flow

    return flow(body, name=name, persist_result=False)()
