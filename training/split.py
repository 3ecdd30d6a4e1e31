"""Which events are trained on, which thresholds are chosen on, and which are tested on.

By time it is the published protocol of the field (Le Borgne et al., Reproducible Machine Learning for Credit Card
Fraud Detection, 2022, chapter 5): a model is trained on some days, tested on days that come a label delay later, and
the cards whose fraud was known on a test day are not looked at any more: they would be blocked.

At random, what an event is for follows from a hash of its id, class by class. So it does not depend on the order of
the events, and changes for next to none of them when others come: a champion is not tested on what it was trained on.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.errors import InputError
from mlops.policy import RandomSplit, Split
from training.dataset import Dataset

__all__ = ["Windows", "split_windows"]

Rows = NDArray[np.int64]


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a data set, by what they are for; only rows whose label is known and was due.

    Fields:
        train: what is trained on.
        wait: what thresholds are chosen on: the days of the delay, whose labels are known when the model goes live, or
            the validation share. The model has not seen them.
        test: what is tested on, without the cards known as defrauded by then.
        unlabelled: rows left out because their label is not known, or was not due by the end of the data.
        known_cards: rows of the test days left out because their card was known.
    """

    train: Rows
    wait: Rows
    test: Rows
    unlabelled: int
    known_cards: int = 0


def split_windows(data: Dataset, split: Split | RandomSplit) -> Windows:
    """The rows to train on, to choose thresholds on, and to test on.

    Raises:
        InputError: there are none to train or to test on.
    """
    windows = _by_time(data, split) if isinstance(split, Split) else _at_random(data, split)
    what = "days" if isinstance(split, Split) else "share"
    if not len(windows.train):
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


def _by_time(data: Dataset, split: Split) -> Windows:
    assert data.day is not None, "the contract refuses a split by time where there is none"
    labelled = data.known
    test_from = split.train_days + split.delay_days
    train = np.flatnonzero(labelled & (data.day < split.train_days))
    wait = np.flatnonzero(labelled & (data.day >= split.train_days) & (data.day < test_from))
    test_days = np.flatnonzero(labelled & (data.day >= test_from) & (data.day < split.days))
    test = test_days
    if data.card is not None:
        known = _known_since(data.card, data.day, data.label, split.delay_days)
        test = test_days[data.day[test_days] < known[test_days]]
    return Windows(
        train=train,
        wait=wait,
        test=test,
        unlabelled=int((~labelled & (data.day < split.days)).sum()),
        known_cards=len(test_days) - len(test),
    )


def _known_since(
    card: NDArray[Any], day: NDArray[np.int64], label: NDArray[Any], delay_days: int
) -> NDArray[np.int64]:
    """For each row, the first day on which its card is known as defrauded: its first fraud, the delay and a day."""
    cards, row_card = np.unique(card, return_inverse=True)
    first_fraud = np.full(len(cards), np.iinfo(np.int64).max // 2)
    frauds = label == 1
    np.minimum.at(first_fraud, row_card[frauds], day[frauds])
    since: NDArray[np.int64] = (first_fraud + delay_days + 1)[row_card]
    return since


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
    return Windows(train=train, wait=wait, test=test, unlabelled=len(data) - len(known))


def _draw(event_id: int | str, seed: int) -> int:
    """A number of 64 bits that is as good as random."""
    return int.from_bytes(blake2b(f"{seed} {event_id}".encode(), digest_size=8).digest(), "big")
