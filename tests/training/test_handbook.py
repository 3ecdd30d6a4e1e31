"""The published protocol by hand: which days, which events, which figures, and what is chosen by what."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from mlops.errors import InputError
from tests.training import example
from training.handbook import Fold, Trial, best_by, choose_dates, judge, load_fold, mean_figures
from training.handbook_models import handbook_models
from training.published import FOLDS, PUBLISHED, SINGLE, Figures

CASE = "tests.training.example"
TREES = example.USE_CASE.candidate("trees")


def figures(auc: float, ap: float, cp100: float) -> Figures:
    return Figures(auc=auc, ap=ap, cp100=cp100)


def test_data_that_have_the_published_days_are_judged_on_them() -> None:
    dates = choose_dates(date(2018, 4, 1), date(2018, 9, 30))
    assert dates.published and dates.single == SINGLE == "2018-07-25"
    assert dates.test == FOLDS == ("2018-08-15", "2018-08-08", "2018-08-01", "2018-07-25")
    assert dates.validation == ("2018-07-11", "2018-07-04", "2018-06-27", "2018-06-20")
    assert choose_dates(date(2018, 6, 20), date(2018, 9, 4)) == dates


def test_other_data_are_judged_on_days_counted_back_from_their_end_likewise() -> None:
    # A day less than the published ones need, at either end: the same folds, counted from the last day.
    for first, last in ((date(2018, 6, 19), date(2018, 9, 3)), (date(2019, 1, 1), date(2019, 6, 30))):
        dates = choose_dates(first, last)
        assert not dates.published and dates.single == dates.test[-1]
        starts = [date.fromisoformat(day) for day in (*dates.test, *dates.validation)]
        assert starts[0] + timedelta(days=20) == last
        assert [(starts[0] - start).days for start in starts] == [0, 7, 14, 21, 35, 42, 49, 56]


def test_too_few_days_are_refused_with_how_many_it_takes() -> None:
    assert choose_dates(date(2019, 1, 1), date(2019, 2, 4), count=1).test == ("2019-01-15",)
    with pytest.raises(InputError, match=r"34 days .* need 35"):
        choose_dates(date(2019, 1, 1), date(2019, 2, 3), count=1)
    with pytest.raises(InputError, match=r"76 days .* need 77"):
        choose_dates(date(2019, 1, 1), date(2019, 3, 17))


def test_validation_folds_end_before_the_first_test_fold_is_trained_to_its_end() -> None:
    dates = choose_dates(date(2018, 4, 1), date(2018, 9, 30))
    last_looked_at = date.fromisoformat(dates.validation[0]) + timedelta(days=20)
    assert last_looked_at == date.fromisoformat(dates.test[-1]) + timedelta(days=6)
    assert last_looked_at < date.fromisoformat(dates.test[-1]) + timedelta(days=14)  # its first test day


def test_a_fold_is_seven_days_each_and_tests_no_card_that_is_known_by_then(tmp_path: Path) -> None:
    table = example.write_feature_table(tmp_path / "features", days=21, per_day=10)
    machine, failed = np.arange(1_000, 1_210), np.zeros(210, np.bool_)  # event i is of day i // 10
    for event, card, fraud in (
        (61, 1, True), (141, 1, False), (151, 1, True),  # a fraud on day 6 is known on day 6 + 7 + 1 = 14
        (71, 2, True), (142, 2, True), (152, 2, False),  # one on day 7 on day 15
        (143, 3, True), (203, 3, True),  # one on a test day not within the test days
        (59, 4, False), (149, 4, False),
    ):  # fmt: skip
        machine[event], failed[event] = card, fraud
    example.rewrite(table, machine=machine, failed=failed)
    fold = load_fold(CASE, table, example.FIRST_DAY)
    left_out = {141, 151, 152}
    assert [int(id_[1:]) for id_ in fold.ids] == [i for i in range(140, 210) if i not in left_out]
    assert fold.labels.tolist() == [int(failed[i]) for i in range(140, 210) if i not in left_out]
    assert (len(fold.train), int(fold.train_labels.sum())) == (70, 1)
    assert set(fold.day.tolist()) == set(range(14, 21))


def a_fold(day: list[int], card: list[int], labels: list[int]) -> Fold:
    nothing = np.zeros((0, 1), np.float32)
    return Fold(
        names=("x",),
        train=nothing,
        train_labels=np.zeros(0, np.int8),
        test=nothing,
        labels=np.array(labels, np.int8),
        ids=np.arange(len(labels)),
        day=np.array(day),
        card=np.array(card),
    )


def test_figures_are_those_that_one_counts_by_hand() -> None:
    # By falling score: fraud, genuine, fraud, genuine. Pairs in order: 3 of 4. AP: (1/1 + 2/3) / 2.
    found = a_fold([0, 0, 0, 0], [1, 2, 3, 4], [1, 0, 1, 0]).figures(np.array([0.9, 0.8, 0.7, 0.1]))
    assert found == figures(0.75, pytest.approx(5 / 6), 0.02)


def test_a_hundred_cards_are_checked_a_day_and_one_that_was_found_is_not_looked_at_again() -> None:
    # Day 0: 150 cards by falling score, frauds at places 100 and 101. Day 1: the fraud found, and the other.
    cards = list(range(150))
    labels = [int(card in (99, 100)) for card in cards]
    fold = a_fold([0] * 150 + [1, 1], [*cards, 99, 100], [*labels, 1, 1])
    scores = np.array([*np.linspace(1, 0.1, 150), 0.9, 0.8])
    assert fold.figures(scores).cp100 == pytest.approx((1 / 100 + 1 / 100) / 2)


def test_a_model_reads_the_features_that_are_named_and_no_others(tmp_path: Path) -> None:
    table = example.write_feature_table(tmp_path / "features", days=21, per_day=100)
    trial = Trial(
        usecase=CASE,
        table=table,
        start=example.FIRST_DAY,
        model=TREES,
        names=("load", "machine_count_1d"),
        params={"trees": 20},
    )
    telling = judge(trial)
    assert telling.figures.auc > 0.85 and telling.fit_s > 0
    assert judge(trial).figures == telling.figures
    useless = Trial(
        usecase=CASE,
        table=table,
        start=example.FIRST_DAY,
        model=TREES,
        names=("machine_count_7d",),
        params={"trees": 20},
    )
    assert judge(useless).figures.auc < 0.65


def test_the_mean_is_of_folds_and_the_best_is_the_first_of_equal_ones() -> None:
    folds = [figures(0.8, 0.5, 0.2), figures(0.9, 0.7, 0.4)]
    assert mean_figures(folds) == figures(pytest.approx(0.85), pytest.approx(0.6), pytest.approx(0.3))
    tried = [figures(0.7, 0.5, 0.3), figures(0.9, 0.4, 0.3), figures(0.8, 0.5, 0.1)]
    assert [best_by(figure, tried) for figure in ("auc", "ap", "cp100")] == [1, 0, 0]


def test_effort_widens_what_is_trained_and_what_is_searched() -> None:
    sizes = {
        effort: {m.candidate.name: len(m.every(effort)) for m in handbook_models(effort)}
        for effort in ("quick", "standard", "full")
    }
    assert sizes["quick"] == {"logistic-regression": 1, "decision-tree": 1}
    assert sizes["standard"]["random-forest"] == 4 and sizes["full"]["random-forest"] == 12
    assert set(sizes["full"]) <= set(PUBLISHED["B"])
    for model in handbook_models("full"):
        tried = model.every("standard")
        assert all(point in model.every("full") for point in tried)


@pytest.mark.parametrize("name", [model.candidate.name for model in handbook_models("full")])
def test_every_published_model_can_be_fitted(name: str, tmp_path: Path) -> None:
    table = example.write_feature_table(tmp_path / "features", days=21, per_day=60)
    model = next(m for m in handbook_models("full") if m.candidate.name == name)
    small = {"trees": 5} if name in ("random-forest", "xgboost") else {}
    small |= (
        {"batch_size": 16, "learning_rate": 1e-2, "neurons": 8, "layers": 2}
        if name == "feed-forward-network"
        else {}
    )
    trial = Trial(
        usecase=CASE,
        table=table,
        start=example.FIRST_DAY,
        model=model.candidate,
        names=("load", "machine_count_1d"),
        params=model.every("standard")[-1] | small,
    )
    assert judge(trial).figures.auc > 0.7
