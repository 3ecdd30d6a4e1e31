"""What differs between classification and regression in training: one module a task, one protocol.

All else, from the split to the signature, asks `task_for` and knows no task by name.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.bundle import Decisions
from mlops.contract import load_dotted
from mlops.policy import Gate, Policy
from mlops.schema import Label
from mlops.schema import Task as TaskName
from training.checks import Check
from training.dataset import Dataset
from training.split import Windows

__all__ = ["CardParts", "Compared", "Rows", "Scores", "Task", "task_for"]

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


class CardParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a task has to say on a model card.

    Fields:
        heads: headings of the columns that describe the labels of a window.
        train, test: those columns, of the training and of the test rows.
        figures: name and value of each figure on the test rows.
        interval: how the interval among them was drawn.
        decisions: a section of its own, or nothing.
    """

    heads: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    interval: str
    decisions: str = ""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate against the champion on the same rows: the champion's headline figure, and the check."""

    champion: float
    check: Check


class Task(Protocol):
    """A task. `E` below is its own struct of figures on the test rows; see the modules.

    Such a struct has `rank`, a number that is larger for a better model; `metrics()`, its figures by name as MLflow
    and the manifest hold them; and `shown()`, the few that a table shows, by heading.
    """

    def check_labels(self, labels: NDArray[Any]) -> None:
        """Refuse labels [n] that nothing can be learned from.

        Raises:
            InputError: they are such.
        """

    def scale(self, labels: NDArray[Any]) -> float:
        """How large a score is, so that a difference of scores can be judged."""

    def decide(self, scores: Scores, data: Dataset, windows: Windows, policy: Policy) -> Decisions | None:
        """The thresholds that fit `scores` [n], one per row of `data`; None where nothing is decided."""

    def evaluate(
        self,
        scores: Scores,
        data: Dataset,
        windows: Windows,
        decisions: Decisions | None,
        policy: Policy,
        *,
        seed: int,
    ) -> Any:
        """`E`: the figures of `scores` [n] on the test rows.

        Raises:
            InputError: these rows do not allow it.
        """

    def checks(self, evaluation: Any, gate: Gate, label: Label) -> list[Check]:
        """The gate's checks of an `E`."""

    def compare(
        self,
        evaluation: Any,
        labels: NDArray[Any],
        scores: Scores,
        champion: Scores,
        data: Dataset,
        rows: Rows,
        gate: Gate,
        *,
        seed: int,
    ) -> Compared:
        """The gate's check against the champion: labels and both scores of the test rows, `rows` of `data`."""

    def card(self, evaluation: Any, decisions: Decisions | None, label: Label) -> CardParts:
        """What the model card says of an `E`."""


def task_for(name: TaskName) -> Task:
    """The task of this name."""
    task: Task = load_dotted(f"training.tasks.{name}:TASK")
    return task
