"""A split that leaves enough to train on and to test on, and the gate that suits so many rows."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlops.errors import InputError
from mlops.policy import RandomSplit, Split
from pipelines.new_usecase.target import Target
from training.dataset import awaited_from
from training.tasks import classification, regression

__all__ = ["Plan", "plan_split"]

_TEST = 0.3
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A split and what it makes of the rows.

    Fields:
        delay_days: how long labels were awaited at the end of the file.
        train, test: rows with a known label.
        test_positives: among the latter, where there are two classes.
        days: the first and the last of a split by time.
    """

    split: Split | RandomSplit
    delay_days: int
    train: int
    test: int
    test_positives: int
    days: tuple[date, date] | None = None


def plan_split(target: Target, times: pa.ChunkedArray | None, where: object) -> Plan:
    """A split by time where there are times, else at random.

    Raises:
        InputError: too few rows to train on or to test on.
    """
    return _at_random(target, where) if times is None else _by_time(target, times, where)


def _at_random(target: Target, where: object) -> Plan:
    """As `training.split` draws: so many of each class."""
    labels = target.values[target.known]
    classes = np.unique(labels) if target.is_class else np.zeros(1)
    sizes = [int((labels == c).sum()) if target.is_class else len(labels) for c in classes]
    train = [round((1 - _TEST) * size) for size in sizes]
    fewest, least = min(train), _least(target)
    if fewest < least:
        needed = next(n for n in count(least) if round((1 - _TEST) * n) >= least)
        raise InputError(
            f"{min(sizes)} {_kind(target)} are too few",
            where=where,
            todo=f"bring at least {needed}: {least} to train on, the others to test on",
        )
    positives = sizes[-1] - train[-1] if target.is_class else 0
    split = RandomSplit(train=1 - _TEST, validation=0.0, test=_TEST)
    return Plan(
        split=split, delay_days=0, train=sum(train), test=sum(sizes) - sum(train), test_positives=positives
    )


def _by_time(target: Target, times: pa.ChunkedArray, where: object) -> Plan:
    """The last days with 30 % of the known labels are tested on, those before them trained on."""
    known, day = target.known, times.cast(pa.date32()).cast(pa.int32()).to_numpy()
    first, last = int(day.min()), int(day.max())
    delay = last - int(day[known].max())
    delay = delay if delay <= (last - first) / 4 else 0  # as long as that it is no delay
    labels = pa.chunked_array([pa.array(target.values, mask=~known)])
    if (moment := awaited_from(times.cast(pa.timestamp("us", "UTC")), labels, delay)) is not None:
        last = (moment.date() - _EPOCH).days - 1
    if last - first < 1 + delay:
        raise InputError(
            f"the rows span {last - first + 1} days, too few to train on some and test on later ones",
            where=where,
            todo="leave out --time: then rows are drawn at random",
        )
    rows = known & (day <= last)
    sizes = np.bincount(day[rows] - first, minlength=last - first + 1)
    reached = np.flatnonzero(np.cumsum(sizes[::-1]) >= _TEST * sizes.sum())
    test_days = min(int(reached[0]) + 1, last - first - delay)
    test_from = last + 1 - test_days
    train, test = rows & (day < test_from - delay), rows & (day >= test_from)
    _check(target, train, "train on", f"before {_date(test_from - delay)}", where)
    _check(target, test, "test on", f"from {_date(test_from)} on", where)
    split = Split(train_days=test_from - delay - first, delay_days=delay, test_days=test_days)
    return Plan(
        split=split,
        delay_days=delay,
        train=int(train.sum()),
        test=int(test.sum()),
        test_positives=int((target.values[test] == 1).sum()) if target.is_class else 0,
        days=(_date(first), _date(last)),
    )


def _check(target: Target, rows: NDArray[np.bool_], use: str, when: str, where: object) -> None:
    least = _least(target) if use == "train on" else 1
    values = target.values[rows]
    there = min(int((values == 1).sum()), int((values == 0).sum())) if target.is_class else len(values)
    if there < least:
        raise InputError(
            f"{there} {_kind(target)} {when} are too few to {use}",
            where=where,
            todo=f"bring at least {least}, or leave out --time: then rows are drawn at random",
        )


def _least(target: Target) -> int:
    return classification.MIN_TRAIN_EVENTS if target.is_class else regression.MIN_TRAIN_EVENTS


def _kind(target: Target) -> str:
    if not target.is_class:
        return "rows with a known target"
    rare = target.positive if target.positives == target.rarer else target.negative
    return f"rows of the rarer class ({rare})"


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)
