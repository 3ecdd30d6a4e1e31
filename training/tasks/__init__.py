"""What differs between classification and regression in training: one module a task, one protocol.

All else, from the split to the signature, asks `task_for` and knows no task by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.bundle import Decisions
from mlops.contract import load_dotted
from mlops.metrics import Interval
from mlops.policy import Gate, Policy
from mlops.schema import Label
from mlops.schema import Task as TaskName
from mlops.slices import Slice
from training.axes import Plot
from training.checks import Check
from training.dataset import Dataset
from training.split import Windows

__all__ = ["CardParts", "Compared", "Figure", "Rows", "Scores", "SliceColumn", "Task", "task_for"]

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as pages show it: its value, its interval and what there is to say of it, each in words."""

    name: str
    value: str
    interval: str = ""
    note: str = ""

    @classmethod
    def of(cls, name: str, one: Interval, form: str, note: str = "") -> Figure:
        """A figure with its interval, in a number format such as `.3f`."""
        return cls(
            name=name,
            value=f"{one.value:{form}}",
            interval=f"{one.low:{form}} to {one.high:{form}}",
            note=note,
        )


class SliceColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One of the figures of slices: its key, what it is called, and its number format."""

    key: str
    title: str
    form: str


class CardParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a task has to say on a model card.

    Fields:
        heads: headings of the columns that describe the labels of a window.
        train, test: those columns, of the training and of the test rows.
        figures: those on the test rows.
        interval: how the intervals were drawn.
        sections: what is told in sections of their own, in Markdown.
        slice_columns: which figures of slices are shown, the most important one first.
    """

    heads: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    figures: tuple[Figure, ...]
    interval: str
    sections: tuple[str, ...]
    slice_columns: tuple[SliceColumn, ...]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate against the champion on the same rows: the champion's headline figure, and the check."""

    champion: float
    check: Check


class Task(Protocol):
    """A task. `E` below is its own struct of figures on the test rows; see the modules.

    Such a struct has `rank`, a number that is larger for a better model; `metrics()`, its figures by name as MLflow
    and the manifest hold them; `shown()`, the few that a table shows, by heading; and `slices`.
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
        slices: Sequence[Slice] = (),
        details: Sequence[str] = (),
    ) -> Any:
        """`E`: the figures of `scores` [n] on the test rows, and on `slices` of them.

        Args:
            details: the event's columns that are known no sooner than the label.

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

    def difference(
        self,
        labels: NDArray[Any],
        scores: Scores,
        other: Scores,
        data: Dataset,
        rows: Rows,
        gate: Gate,
        *,
        seed: int,
    ) -> Interval:
        """How much better `scores` are than `other`, in the headline figure, with a paired bootstrap interval.

        Labels and both scores are those of `rows` of `data`.
        """

    def card(self, evaluation: Any, decisions: Decisions | None, label: Label) -> CardParts:
        """What the model card says of an `E`."""

    def plots(self, evaluation: Any, decisions: Decisions | None, label: Label) -> tuple[Plot, ...]:
        """The pictures of an `E`."""


def task_for(name: TaskName) -> Task:
    """The task of this name."""
    task: Task = load_dotted(f"training.tasks.{name}:TASK")
    return task
