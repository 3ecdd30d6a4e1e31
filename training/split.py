"""Which events are trained on, which thresholds are chosen on, and which are tested on.

By time it is the published protocol of the field (Le Borgne et al., Reproducible Machine Learning for Credit Card
Fraud Detection, 2022, chapter 5): a model is trained on some days, tested on days that come a label delay later, and
the cards whose fraud was known on a test day are not looked at any more: they would be blocked.

At random, what an event is for follows from a hash of its id, class by class. So it does not depend on the order of
the events. The borders are ranks, so when others come a few events change sides: a champion is tested on hardly any
that it was trained on.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.policy import RandomSplit, Split
from training.dataset import Dataset, Span, load_dataset, open_table, span_of
from training.examples import ArrayExamples, Examples
from training.table_examples import TableExamples

__all__ = ["Windows", "load_windows", "split_windows"]

Rows = NDArray[np.int64]


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a data set, by what they are for; only rows whose label is known and was due.

    Fields:
        examples: what is trained on.
        train: the same, as rows of the data set, if it holds them.
        wait: what thresholds are chosen on: the days of the delay, whose labels are known when the model goes live, or
            the validation share. The model has not seen them.
        test: what is tested on, without the cards known as defrauded by then.
        unlabelled: rows left out because their label is not known, or was not due by the end of the data.
        known_cards: rows of the test days left out because their card was known.
    """

    examples: Examples
    train: Rows
    wait: Rows
    test: Rows
    unlabelled: int
    known_cards: int = 0


def load_windows(
    folder: Path, use_case: UseCase, *, first_day: str = "", features: FeatureSet | None = None
) -> tuple[Dataset, Windows]:
    """Split a feature table by the use case's policy: the events to choose thresholds and to test on, and all windows.

    Of events that have times, the training days stay in the table: only their labels are in memory.

    Args:
        first_day: the first training day, ISO date; nothing where the split is at random.
        features: those to read; those of the use case unless given.

    Raises:
        InputError: as `load_dataset` and `split_windows`.
    """
    split = use_case.policy.split
    if not isinstance(split, Split):
        data = load_dataset(folder, use_case, features=features)
        return data, split_windows(data, split)
    read = features or use_case.features
    source, _ = open_table(folder, use_case, read)
    span = span_of(source, use_case, folder, first_day, split.days)
    data = load_dataset(
        folder, use_case, first_day=first_day, days=split.days, skip_days=split.train_days, features=features
    )
    examples = TableExamples(folder, source, use_case, read, span, split.train_days)
    frauds = _training_frauds(source, use_case, span, split) if use_case.card else None
    windows = _by_time(data, split, examples, frauds)
    if use_case.policy.costs is not None and not (data.label[windows.wait] == 1).any():
        # Thresholds are then chosen on the events trained on, which have to be in memory for that.
        data = load_dataset(folder, use_case, first_day=first_day, days=split.days, features=features)
        windows = _by_time(data, split)
    return data, _checked(windows, split)


def split_windows(data: Dataset, split: Split | RandomSplit) -> Windows:
    """The rows of a data set to train on, to choose thresholds on, and to test on.

    Raises:
        InputError: there are none to train or to test on.
    """
    return _checked(_by_time(data, split) if isinstance(split, Split) else _at_random(data, split), split)


def _checked(windows: Windows, split: Split | RandomSplit) -> Windows:
    what = "days" if isinstance(split, Split) else "share"
    if not len(windows.examples):
        raise InputError(
            f"no labelled events in the training {what}", where="split", todo="choose an earlier window"
        )
    if not len(windows.test):
        raise InputError(
            f"no labelled events in the test {what}",
            where="split",
            todo="choose an earlier window, or wait for the labels",
        )
    return windows


def _by_time(
    data: Dataset,
    split: Split,
    examples: TableExamples | None = None,
    frauds: tuple[NDArray[Any], Rows] | None = None,
) -> Windows:
    """`frauds` are cards and days of the positives among `examples`, if those are not in `data`."""
    assert data.day is not None, "the contract refuses a split by time where there is none"
    labelled = data.known
    test_from = split.train_days + split.delay_days
    train = np.flatnonzero(labelled & (data.day < split.train_days))
    wait = np.flatnonzero(labelled & (data.day >= split.train_days) & (data.day < test_from))
    test_days = np.flatnonzero(labelled & (data.day >= test_from) & (data.day < split.days))
    test = test_days
    if data.card is not None:
        positive = data.label == 1
        cards, days = data.card[positive], data.day[positive]
        if frauds is not None:
            cards, days = np.concatenate([frauds[0], cards]), np.concatenate([frauds[1], days])
        known = _known_since(data.card[test_days], cards, days, split.delay_days)
        test = test_days[data.day[test_days] < known]
    unlabelled = int((~labelled & (data.day < split.days)).sum())
    return Windows(
        examples=examples or ArrayExamples(data.features[train], data.label[train]),
        train=train,
        wait=wait,
        test=test,
        unlabelled=unlabelled + (examples.unlabelled if examples else 0),
        known_cards=len(test_days) - len(test),
    )


def _known_since(card: NDArray[Any], frauds: NDArray[Any], days: Rows, delay_days: int) -> Rows:
    """For each `card`, the first day on which it is known as defrauded: its first fraud, the delay and a day."""
    cards, place = np.unique(np.concatenate([card, frauds]), return_inverse=True)
    first_fraud = np.full(len(cards), np.iinfo(np.int64).max // 2)
    np.minimum.at(first_fraud, place[len(card) :], days)
    since: Rows = (first_fraud + delay_days + 1)[place[: len(card)]]
    return since


def _training_frauds(
    source: ds.Dataset, use_case: UseCase, span: Span, split: Split
) -> tuple[NDArray[Any], Rows]:
    """Card and day of each positive on the training days."""
    time, label = use_case.events.time, use_case.label.column
    chosen = span.between(time, 0, split.train_days) & ds.field(label)
    if span.awaited is not None:
        chosen &= ds.field(time) < span.awaited
    rows = source.to_table(columns=[use_case.card, time], filter=chosen)
    days = pc.days_between(pa.scalar(span.start, rows[time].type), rows[time])
    return rows[use_case.card].to_numpy(), days.to_numpy()


def _at_random(data: Dataset, split: RandomSplit) -> Windows:
    known = np.flatnonzero(data.known)
    drawn = np.array([_draw(id_, split.seed) for id_ in data.ids[known].tolist()], np.uint64)
    classes = data.label[known] if data.label.dtype == np.int8 else np.zeros(len(known))
    parts: list[list[Rows]] = [[], [], []]
    for class_ in np.unique(classes):
        rows = known[classes == class_][np.argsort(drawn[classes == class_], kind="stable")]
        borders = np.rint(np.cumsum([split.train, split.validation]) * len(rows)).astype(int)
        for part, share in zip(parts, np.split(rows, borders), strict=True):
            part.append(share)
    train, wait, test = (np.sort(np.concatenate([known[:0], *part])) for part in parts)
    return Windows(
        examples=ArrayExamples(data.features[train], data.label[train]),
        train=train,
        wait=wait,
        test=test,
        unlabelled=len(data) - len(known),
    )


def _draw(event_id: int | str, seed: int) -> int:
    """A number of 64 bits that is as good as random."""
    return int.from_bytes(blake2b(f"{seed} {event_id}".encode(), digest_size=8).digest(), "big")
