"""Train, wait for the labels, test: the published protocol of the field.

Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter 5: a model is trained
on some days, tested on days that come a label delay later, and the cards whose fraud was known on a test day are not
looked at any more: they would be blocked.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.errors import InputError
from mlops.policy import Split
from training.dataset import Dataset

__all__ = ["MIN_TRAIN_FRAUDS", "Windows", "split_windows"]

MIN_TRAIN_FRAUDS = 20  # fewer, and a fit says more about the draw than about fraud

Rows = NDArray[np.int64]


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a data set, by what they are for; only rows whose label is known and was due.

    Fields:
        train: the training days.
        wait: the days of the delay. Their labels are known when the model goes live, and it has not seen them:
            thresholds are chosen on them.
        test: the test days, without the cards known as defrauded by then.
        unlabelled: rows left out because their label is not known, or was not due by the end of the data.
        known_cards: rows of the test days left out because their card was known.
    """

    train: Rows
    wait: Rows
    test: Rows
    unlabelled: int
    known_cards: int


def split_windows(data: Dataset, split: Split) -> Windows:
    """The rows to train on, to choose thresholds on, and to test on.

    Raises:
        InputError: no rows in a window, one class only in training, or too few frauds to train on.
    """
    labelled = data.label >= 0
    test_from = split.train_days + split.delay_days
    train = np.flatnonzero(labelled & (data.day < split.train_days))
    wait = np.flatnonzero(labelled & (data.day >= split.train_days) & (data.day < test_from))
    test_days = np.flatnonzero(labelled & (data.day >= test_from) & (data.day < split.days))
    test = test_days
    if data.card is not None:
        known = _known_since(data.card, data.day, data.label, split.delay_days)
        test = test_days[data.day[test_days] < known[test_days]]
    _check(data.label[train])
    if not len(test):
        raise InputError(
            "no labelled events in the test days",
            where="split",
            todo="choose an earlier window, or wait for the labels",
        )
    return Windows(
        train=train,
        wait=wait,
        test=test,
        unlabelled=int((~labelled & (data.day < split.days)).sum()),
        known_cards=len(test_days) - len(test),
    )


def _known_since(
    card: NDArray[Any], day: NDArray[np.int64], label: NDArray[np.int8], delay_days: int
) -> NDArray[np.int64]:
    """For each row, the first day on which its card is known as defrauded: its first fraud, the delay and a day."""
    cards, row_card = np.unique(card, return_inverse=True)
    first_fraud = np.full(len(cards), np.iinfo(np.int64).max // 2)
    frauds = label == 1
    np.minimum.at(first_fraud, row_card[frauds], day[frauds])
    since: NDArray[np.int64] = (first_fraud + delay_days + 1)[row_card]
    return since


def _check(label: NDArray[np.int8]) -> None:
    frauds = int((label == 1).sum())
    if not len(label):
        raise InputError(
            "no labelled events in the training days", where="split", todo="choose an earlier window"
        )
    if frauds in (0, len(label)):
        raise InputError(
            f"all {len(label):,} labelled events of the training days are of one class",
            where="split",
            todo="choose a window that holds both",
        )
    if min(frauds, len(label) - frauds) < MIN_TRAIN_FRAUDS:
        raise InputError(
            f"{min(frauds, len(label) - frauds)} events of the rarer class in the training days are too few to "
            f"train on",
            where="split",
            todo=f"at least {MIN_TRAIN_FRAUDS} are needed: train on more days or more cards",
        )
