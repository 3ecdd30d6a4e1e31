"""The same steps as tasks of a Prefect flow, on the server that Prefect brings along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from pipelines.prefect_server import embedded
from pipelines.view import View

__all__ = ["PrefectEngine", "run_as_flow"]

P = ParamSpec("P")
R = TypeVar("R")


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
    with embedded(home):
        from prefect import flow

        return flow(body, name=name, persist_result=False)()
