"""The published protocol, by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.policy import RandomSplit, Split
from mlops.tables import FeatureTable
from training.dataset import Dataset
from training.split import split_windows

SPLIT = Split(train_days=2, delay_days=3, test_days=2)  # train 0–1, wait 2–4, test 5–6


def dataset(rows: list[tuple[int, str, int]], *, cards: bool = True) -> Dataset:
    """Rows (day, card, label), after enough events of day 0 to train on."""
    rows = [(0, f"seed{i}", i % 2) for i in range(4 * 20)] + rows
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
    assert len(windows.train) == 4 * 20


def test_training_days_without_labels_are_refused() -> None:
    data = dataset([(5, "a", 0)])
    data.label[data.day == 0] = -1
    with pytest.raises(InputError, match="no labelled events in the training days"):
        split_windows(data, SPLIT)


def test_test_days_without_labels_are_refused() -> None:
    with pytest.raises(InputError, match="no labelled events in the test days"):
        split_windows(dataset([(5, "a", -1)]), SPLIT)


SHARES = RandomSplit(train=0.5, validation=0.25, test=0.25)


def at_random(data: Dataset, split: RandomSplit = SHARES) -> dict[str, set[object]]:
    """The ids that are for each purpose."""
    windows = split_windows(data, split)
    return {name: set(data.ids[getattr(windows, name)].tolist()) for name in ("train", "wait", "test")}


def test_at_random_each_class_is_shared_out_as_declared() -> None:
    data = dataset([(0, "a", int(i % 10 == 0)) for i in range(400)])
    windows = split_windows(data, SHARES)
    for label in (0, 1):
        count = (data.label == label).sum()
        for rows, share in ((windows.train, 0.5), (windows.wait, 0.25), (windows.test, 0.25)):
            assert (data.label[rows] == label).sum() == pytest.approx(share * count, abs=1)
    assert sorted(np.concatenate([windows.train, windows.wait, windows.test])) == list(range(len(data)))


def test_what_an_event_is_for_does_not_depend_on_the_order_and_hardly_on_the_others() -> None:
    data = dataset([(0, "a", i % 2) for i in range(400)])
    order = np.random.default_rng(0).permutation(len(data))
    shuffled = msgspec.structs.replace(
        data, ids=data.ids[order], label=data.label[order], features=data.features[order]
    )
    assert at_random(shuffled) == at_random(data)
    more = at_random(dataset([(0, "a", i % 2) for i in range(600)]))
    assert len(at_random(data)["train"] & more["test"]) == 0
    assert len(at_random(data)["test"] & more["train"]) < 5
    assert at_random(data, msgspec.structs.replace(SHARES, seed=1)) != at_random(data)


def test_quantities_are_split_at_random_and_unknown_ones_left_out() -> None:
    labels = np.where(np.arange(100) < 10, np.nan, np.linspace(0, 1, 100))
    data = msgspec.structs.replace(dataset([(0, "a", 0)] * 20), label=labels)
    windows = split_windows(data, SHARES)
    assert windows.unlabelled == 10
    assert [len(rows) for rows in (windows.train, windows.wait, windows.test)] == [45, 23, 22]
