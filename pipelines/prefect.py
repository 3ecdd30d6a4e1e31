"""The same steps as tasks of a Prefect flow, on the server that Prefect brings along."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from pipelines.ports import free_port
from pipelines.process import running
from pipelines.view import View

__all__ = ["PrefectEngine", "run_as_flow"]

P = ParamSpec("P")
R = TypeVar("R")


_SETTINGS = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # what fails is raised, and told in one line
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # it would write to the home folder
    "PREFECT_SERVER_UI_ENABLED": "false",
}


@contextmanager
def _server(home: Path) -> Iterator[None]:
    """Prefect's own server with its database in `home`, or the one that PREFECT_API_URL names."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)  # profiles elsewhere may lead to other servers
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" in os.environ:
        yield
        return
    port = str(free_port())
    line = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--port", port]
    url = f"http://127.0.0.1:{port}/api"
    with running("Prefect", line, health=f"{url}/health", log=home / "server.log", patience_s=90):
        os.environ["PREFECT_API_URL"] = url
        try:
            yield
        finally:
            del os.environ["PREFECT_API_URL"]


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
    """Run `body`, whose steps go through a `PrefectEngine`, as one flow run.

    Raises:
        SetupError: Prefect's server does not start.
    """
    with _server(home):
        from prefect import flow

        return flow(body, name=name, persist_result=False)()
