"""The published protocol, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.policy import Split
from mlops.tables import FeatureTable
from training.dataset import Dataset
from training.split import MIN_TRAIN_FRAUDS, split_windows

SPLIT = Split(train_days=2, delay_days=3, test_days=2)  # train 0–1, wait 2–4, test 5–6


def dataset(rows: list[tuple[int, str, int]], *, cards: bool = True) -> Dataset:
    """Rows (day, card, label), after enough events of day 0 to train on."""
    rows = [(0, f"seed{i}", i % 2) for i in range(4 * MIN_TRAIN_FRAUDS)] + rows
    day, card, label = zip(*rows, strict=True)
    return Dataset(
        ids=np.arange(len(rows)),
        time_us=np.zeros(len(rows), np.int64),
        day=np.array(day),
        label=np.array(label, np.int8),
        features=np.zeros((len(rows), 1), np.float32),
        names=("x",),
        card=np.array(card) if cards else None,
        amount=None,
        table=FeatureTable(
            rows=0, unlabelled=0, features=FeatureSet(()), events=(), whole_number_ids=(), fingerprint=""
        ),
    )


def rows_tested(rows: list[tuple[int, str, int]], *, cards: bool = True) -> list[tuple[int, str, int]]:
    data = dataset(rows, cards=cards)
    offset = len(data) - len(rows)
    return [rows[i - offset] for i in split_windows(data, SPLIT).test]


def test_each_day_serves_one_purpose() -> None:
    data = dataset([(day, f"c{day}", 0) for day in range(8)])
    windows = split_windows(data, SPLIT)
    assert set(data.day[windows.train]) == {0, 1}
    assert set(data.day[windows.wait]) == {2, 3, 4}
    assert set(data.day[windows.test]) == {5, 6}


def test_a_card_is_left_out_from_the_day_on_which_its_fraud_is_known() -> None:
    # On day 5 frauds up to day 5 − 3 − 1 = 1 are known, on day 6 up to day 2.
    rows = [
        (1, "trained", 1), (5, "trained", 0), (6, "trained", 1),
        (2, "waited", 1), (5, "waited", 1), (6, "waited", 0),
        (3, "late", 1), (5, "late", 0), (6, "late", 0),
        (5, "tested", 1), (6, "tested", 1),
        (1, "clean", 0), (5, "clean", 0), (6, "clean", 0),
    ]  # fmt: skip
    assert rows_tested(rows) == [
        (5, "waited", 1),
        (5, "late", 0),
        (6, "late", 0),
        (5, "tested", 1),
        (6, "tested", 1),
        (5, "clean", 0),
        (6, "clean", 0),
    ]
    assert split_windows(dataset(rows), SPLIT).known_cards == 3


def test_without_cards_nothing_is_left_out() -> None:
    rows = [(1, "trained", 1), (5, "trained", 0), (6, "trained", 1)]
    assert rows_tested(rows, cards=False) == rows[1:]


def test_events_whose_label_is_not_known_are_left_out_and_counted() -> None:
    rows = [(0, "a", -1), (3, "a", -1), (5, "a", -1), (5, "b", 0), (9, "c", -1)]
    windows = split_windows(dataset(rows), SPLIT)
    assert rows_tested(rows) == [(5, "b", 0)]
    assert windows.unlabelled == 3
    assert len(windows.train) == 4 * MIN_TRAIN_FRAUDS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: 0 * y, "are of one class"),
        (lambda y: 0 * y + 1, "are of one class"),
        (lambda y: 0 * y - 1, "no labelled events in the training days"),
        (lambda y: y * (np.arange(len(y)) < 10), f"5 events of the rarer class.*at least {MIN_TRAIN_FRAUDS}"),
    ],
)
def test_training_days_that_teach_nothing_are_refused(change: object, message: str) -> None:
    data = dataset([(5, "a", 0)])
    train = data.day == 0
    data.label[train] = change(data.label[train])
    with pytest.raises(InputError, match=message):
        split_windows(data, SPLIT)


def test_test_days_without_labels_are_refused() -> None:
    with pytest.raises(InputError, match="no labelled events in the test days"):
        split_windows(dataset([(5, "a", -1)]), SPLIT)
