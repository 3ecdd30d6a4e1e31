"""The published validation folds, by hand, and that they never see what the final model is tested on."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlops.errors import InputError
from mlops.policy import RandomSplit, Split
from tests.training import example, flats
from training.dataset import load_dataset
from training.folds import first_event_day, folds, load_folds
from training.split import split_windows

FINAL_DAY = "2018-05-24"  # of a table that begins on 2018-05-08 and has 24 days


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example.write_feature_table(tmp_path_factory.mktemp("folds") / "features", days=24, per_day=200)


def test_the_published_folds_are_those_of_the_handbook() -> None:
    # Chapter 5: parameters for the test folds from 2018-07-25 on are chosen on these.
    assert folds("2018-07-25", Split(), "2018-04-01") == [
        "2018-07-11",
        "2018-07-04",
        "2018-06-27",
        "2018-06-20",
    ]


@pytest.mark.parametrize(
    ("first_event", "count", "found"),
    [
        ("2018-05-10", 4, ["2018-05-19", "2018-05-16", "2018-05-13", "2018-05-10"]),
        ("2018-05-11", 4, ["2018-05-19", "2018-05-16", "2018-05-13"]),
        ("2018-05-19", 4, ["2018-05-19"]),
        ("2018-05-20", 4, []),
        ("2018-05-01", 2, ["2018-05-19", "2018-05-16"]),
    ],
)
def test_there_are_as_many_folds_as_the_data_allow(first_event: str, count: int, found: list[str]) -> None:
    split = Split(train_days=3, delay_days=2, test_days=3)  # 24 May − 2 − 3 = 19 May, then every 3 days
    assert folds(FINAL_DAY, split, first_event, count=count) == found


@pytest.mark.parametrize(
    "split", [Split(), Split(train_days=30), Split(train_days=1, delay_days=0, test_days=1)]
)
def test_no_fold_is_judged_on_days_after_the_final_training_days(split: Split) -> None:
    final = date(2018, 9, 1)
    for start in folds(final.isoformat(), split, "2018-01-01"):
        last_day = date.fromisoformat(start) + timedelta(split.days - 1)
        assert last_day <= final + timedelta(split.train_days - 1)


def test_the_first_event_day_is_that_of_the_table(table: Path) -> None:
    assert first_event_day(table, example.USE_CASE) == "2018-05-08"


def test_a_fold_holds_what_the_policy_would_train_and_test_on(table: Path) -> None:
    split = example.USE_CASE.policy.split
    found = load_folds(table, example.USE_CASE, first_day=FINAL_DAY)
    assert [fold.name for fold in found] == ["2018-05-19", "2018-05-16", "2018-05-13", "2018-05-10"]
    for fold in found:
        data = load_dataset(table, example.USE_CASE, first_day=fold.name, days=split.days)
        windows = split_windows(data, split)
        features, labels = fold.examples.arrays()
        assert (features == data.features[windows.train]).all()
        assert (labels == data.label[windows.train]).all()
        assert (fold.features == data.features[windows.test]).all()
        assert (fold.labels == data.label[windows.test]).all()
        assert windows.known_cards > 0


def test_a_fold_is_read_once(table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moved = tmp_path / "features"
    moved.symlink_to(table)
    (fold,) = load_folds(moved, example.USE_CASE, first_day=FINAL_DAY, count=1)
    moved.unlink()
    assert sum(len(labels) for _, labels in fold.examples.batches(100, epoch=0, seed=0)) == len(fold.examples)


def test_data_that_begin_too_late_for_a_fold_are_refused_with_what_to_do(table: Path) -> None:
    with pytest.raises(
        InputError, match=r"begin on 2018-05-08, less than 5 days before 2018-05-12.*effort quick"
    ):
        load_folds(table, example.USE_CASE, first_day="2018-05-12")


def test_a_fold_that_cannot_be_judged_is_named(tmp_path: Path) -> None:
    folder = example.write_feature_table(tmp_path / "features", days=24, per_day=100)
    example.rewrite(folder, failed=[None if 500 <= n < 800 else bool(n % 2) for n in range(2_400)])
    with pytest.raises(InputError, match="training days of the fold that begins on 2018-05-13"):
        load_folds(folder, example.USE_CASE, first_day=FINAL_DAY)


def test_at_random_the_training_share_is_split_again_and_again(tmp_path: Path) -> None:
    folder = flats.write_feature_table(tmp_path / "features", rows=1_010)
    data = load_dataset(folder, flats.USE_CASE)
    windows = split_windows(data, RandomSplit())
    training = {row.tobytes() for row in data.features[windows.train]}
    found = load_folds(folder, flats.USE_CASE, count=3)
    assert [fold.name for fold in found] == ["split 1", "split 2", "split 3"]
    judged = []
    for fold in found:
        trained = {row.tobytes() for row in fold.examples.arrays()[0]}
        judged.append({row.tobytes() for row in fold.features})
        assert trained | judged[-1] == training
        assert not trained & judged[-1]
        assert len(fold.labels) == pytest.approx(
            len(training) / 4, abs=1
        )  # a test share of .2 to a training of .6
        assert np.isfinite(fold.labels).all()
    assert len(judged[0] & judged[1]) < len(judged[0]) / 2


def test_columns_of_events_follow_their_rows(tmp_path: Path) -> None:
    split = msgspec.structs.replace(
        flats.USE_CASE.policy, split=RandomSplit(train=0.8, validation=0.0, test=0.2)
    )
    use_case = msgspec.structs.replace(flats.USE_CASE, policy=split)
    (fold,) = load_folds(flats.write_feature_table(tmp_path / "features"), use_case, count=1)
    rent = 500 + 40 * fold.features[:, 0] + 40 * fold.features[:, 1]
    assert np.corrcoef(rent, fold.labels)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("without", "words"),
    [
        (range(1_000, 1_300), r"fold 2018-05-13: no positive among the \d+ labelled events to judge by"),
        (range(200, 500), r"fold 2018-05-10: all 300 labelled events to train on are of one class"),
    ],
)
def test_a_fold_without_positives_is_named(tmp_path: Path, without: range, words: str) -> None:
    folder = example.write_feature_table(tmp_path / "features", days=24, per_day=100)
    example.rewrite(folder, failed=[n not in without and n % 2 == 0 for n in range(2_400)])
    with pytest.raises(InputError, match=words):
        load_folds(folder, example.USE_CASE, first_day=FINAL_DAY)
