"""The validation folds that parameters are chosen on: windows like the final one, and all of them before its end.

By time they are the published prequential folds (Le Borgne et al., Reproducible Machine Learning for Credit Card
Fraud Detection, 2022, chapter 5): the first has its test days where the final window has its training days, each
further one lies a test period earlier. So nothing is chosen on days that the final model is tested on, and every label
that is looked at is known when the final model is trained. At random, the training share is split anew each time.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.policy import RandomSplit, Split
from mlops.schema import Task
from training.dataset import Dataset, open_table, parse_day
from training.examples import ArrayExamples, Examples
from training.split import Windows, load_windows, split_windows
from training.tasks import task_for

__all__ = ["COUNT", "Fold", "first_event_day", "folds", "load_folds"]

COUNT = 4

_HELD_BYTES = 256 << 20  # training features that a fold keeps in memory; more are read again for each fit


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """What one model is trained on and judged on.

    Fields:
        name: the first training day, ISO date, or which of the splits at random it is.
        examples: what is trained on.
        features, labels: what is judged on, [n, f] float32 and [n].
    """

    name: str
    examples: Examples
    features: NDArray[np.float32]
    labels: NDArray[Any]


def folds(first_day: str, split: Split, first_event_day: str, *, count: int = COUNT) -> list[str]:
    """The first training days of at most `count` validation folds, the latest first, as many as the data allow.

    Days are ISO dates, `first_day` that of the final window's first training day.

    Raises:
        InputError: a day is no date.
    """
    latest = parse_day(first_day) - timedelta(days=split.delay_days + split.test_days)
    starts = [latest - timedelta(days=split.test_days * fold) for fold in range(count)]
    earliest = parse_day(first_event_day)
    return [start.isoformat() for start in starts if start >= earliest]


def first_event_day(folder: Path, use_case: UseCase) -> str:
    """The first day, UTC, that the feature table in `folder` has events of, as an ISO date.

    Raises:
        InputError: no feature table, or no rows.
    """
    source, _ = open_table(folder, use_case, use_case.features)
    times = source.to_table(columns=[use_case.events.time])[use_case.events.time]
    return str(pc.min(times).as_py().date().isoformat())


def load_folds(
    folder: Path,
    use_case: UseCase,
    *,
    first_day: str = "",
    features: FeatureSet | None = None,
    count: int = COUNT,
) -> list[Fold]:
    """The validation folds of the final window that begins on `first_day`, each read once.

    Args:
        first_day: the first training day, ISO date; nothing where the policy splits at random.
        features: those to read; those of the use case unless given.

    Raises:
        InputError: the data begin too late for a single fold, or a fold has no labelled events, too few to learn from,
            or no positive to judge by.
    """
    split = use_case.policy.split
    if isinstance(split, RandomSplit):
        data, windows = load_windows(folder, use_case, features=features)
        return _resplit(data, windows, split, count, use_case.task)
    begin = first_event_day(folder, use_case)
    starts = folds(first_day, split, begin, count=count)
    if not starts:
        lead = split.delay_days + split.test_days
        raise InputError(
            f"the data begin on {begin}, less than {lead} days before {first_day}: no days to choose parameters on",
            where="effort",
            todo="choose a later first day, bring earlier events, or take effort quick",
        )
    return [_load(folder, use_case, start, features) for start in starts]


def _load(folder: Path, use_case: UseCase, start: str, features: FeatureSet | None) -> Fold:
    try:
        data, windows = load_windows(folder, use_case, first_day=start, features=features)
    except InputError as error:
        raise InputError(
            f"{error.what} of the fold that begins on {start}", where=error.where, todo=error.todo
        ) from None
    return _fold(start, data, windows, use_case.task)


def _fold(name: str, data: Dataset, windows: Windows, task: Task) -> Fold:
    examples, judged = windows.examples, data.label[windows.test]
    _check_labels(name, examples.labels, judged, task)
    if len(examples) * examples.n_features * 4 <= _HELD_BYTES:
        examples = ArrayExamples(*examples.arrays())
    return Fold(name=name, examples=examples, features=data.features[windows.test], labels=judged)


def _check_labels(name: str, trained: NDArray[Any], judged: NDArray[Any], task: Task) -> None:
    where = f"fold {name}"
    try:
        task_for(task).check_labels(trained)
    except InputError as error:
        raise InputError(error.what, where=where, todo=error.todo) from None
    if task == "classification" and not (judged == 1).any():
        raise InputError(
            f"no positive among the {len(judged):,} labelled events to judge by",
            where=where,
            todo="choose another first day, or take effort quick",
        )


def _resplit(data: Dataset, windows: Windows, split: RandomSplit, count: int, task: Task) -> list[Fold]:
    """The training share, split at random again: as large a part is judged on as the final test share is to it."""
    training = _take(data, windows.train)
    part = split.test / (split.train + split.test)
    found = []
    for number in range(1, count + 1):
        inner = RandomSplit(train=1 - part, validation=0.0, test=part, seed=split.seed + number)
        found.append(_fold(f"split {number}", training, split_windows(training, inner), task))
    return found


def _take(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    arrays = {
        name: value[rows]
        for name, value in msgspec.structs.asdict(data).items()
        if isinstance(value, np.ndarray)
    }
    columns = {name: value[rows] for name, value in data.columns.items()}
    return msgspec.structs.replace(data, **arrays, columns=columns)
