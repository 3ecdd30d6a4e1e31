"""An engine runs the lifecycle's steps: here, or as tasks of a workflow system."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from pipelines.view import View

__all__ = ["Engine", "LocalEngine"]

P = ParamSpec("P")
R = TypeVar("R")


class Engine(Protocol):
    """What the lifecycle asks of an engine."""

    def run(self, title: str, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run one step to its end and return its result."""
        ...


class LocalEngine:
    """Calls each step in this process."""

    def __init__(self, view: View) -> None:
        self._view = view

    def run(self, title: str, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        with self._view.step(title):
            return step(*args, **kwargs)
