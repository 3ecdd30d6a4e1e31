"""Figures and thresholds come from the days that they should come from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlops import metrics
from mlops.bundle import Decisions
from mlops.errors import InputError
from mlops.metrics import average_precision
from mlops.policy import Costs, Policy
from mlops.slices import Slice
from tests.training.example import FIRST_DAY, USE_CASE
from training.dataset import Dataset, load_dataset
from training.split import Windows, split_windows
from training.tasks.classification import MIN_TRAIN_EVENTS, NEVER, TASK, ClassificationEvaluation, clusters_of
from training.tasks.classification.slicing import MIN_POSITIVES

DECISIONS = Decisions(review_at=0.5, decline_at=0.9)


@pytest.fixture
def data(features: Path) -> Dataset:
    return load_dataset(features, USE_CASE, first_day=FIRST_DAY, days=8)


@pytest.fixture
def windows(data: Dataset) -> Windows:
    return split_windows(data, USE_CASE.policy.split)


def knowing(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Scores that know the labels of `rows`, and nothing of the others."""
    scores = np.full(len(data), 0.3, np.float32)
    scores[rows] = np.where(data.label[rows] == 1, 0.8, 0.2)
    return scores


def evaluate(scores: np.ndarray, data: Dataset, windows: Windows) -> ClassificationEvaluation:
    return TASK.evaluate(scores, data, windows, DECISIONS, USE_CASE.policy, seed=0)


def test_only_the_test_rows_are_judged(data: Dataset, windows: Windows) -> None:
    found = evaluate(knowing(data, windows.test), data, windows)
    assert (found.auc.value, found.ap.value) == (1, 1)
    assert found.card_precision is not None
    assert found.card_precision.value == found.card_precision.oracle
    assert found.cost.reviewed == (0, found.positives)
    assert found.cost.total == 5 * found.positives < found.cost_approve_all
    assert (found.events, found.train_events) == (len(windows.test), len(windows.train))


def test_without_decisions_nothing_costs(data: Dataset, windows: Windows) -> None:
    policy = msgspec.structs.replace(USE_CASE.policy, costs=None)
    assert TASK.decide(knowing(data, windows.wait), data, windows, policy) is None
    found = TASK.evaluate(knowing(data, windows.test), data, windows, None, policy, seed=0)
    assert (found.cost, found.cost_approve_all) == (None, None)
    assert "cost" not in found.metrics()
    assert "## Decisions" not in "".join(TASK.card(found, None, USE_CASE.label).sections)


def test_the_baseline_is_the_best_single_feature_in_its_better_direction(
    data: Dataset, windows: Windows
) -> None:
    label = data.label[windows.test]
    found = evaluate(knowing(data, windows.test), data, windows)
    assert found.baseline == "high load"
    assert found.baseline_ap == average_precision(label, data.features[windows.test, 0])
    upside_down = msgspec.structs.replace(data, features=-data.features)
    turned = evaluate(knowing(data, windows.test), upside_down, windows)
    assert (turned.baseline, turned.baseline_ap) == ("low load", found.baseline_ap)


def test_thresholds_are_chosen_on_the_waiting_days(data: Dataset, windows: Windows) -> None:
    found = TASK.decide(knowing(data, windows.wait), data, windows, USE_CASE.policy)
    assert 0.2 < found.review_at <= 0.8
    assert f"{len(windows.wait):,} events" in found.chosen_by
    assert "between training and test" in found.chosen_by


def test_without_waiting_days_the_training_days_have_to_do_and_that_is_said(
    data: Dataset, windows: Windows
) -> None:
    without = msgspec.structs.replace(windows, wait=np.array([], np.int64))
    found = TASK.decide(knowing(data, windows.train), data, without, USE_CASE.policy)
    assert 0.2 < found.review_at <= 0.8
    assert "trained on, which flatters them" in found.chosen_by


def test_a_decision_that_never_pays_gets_a_threshold_that_no_score_reaches(
    data: Dataset, windows: Windows
) -> None:
    dear = Policy(costs=Costs(review=1e6, false_decline=1e6, chargeback=0))
    useless = np.full(len(data), 0.5, np.float32)
    found = TASK.decide(useless, data, windows, dear)
    assert (found.review_at, found.decline_at) == (NEVER, NEVER)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Decisions) == found


def test_events_of_a_card_on_a_day_are_drawn_together_and_without_cards_alone(data: Dataset) -> None:
    rows = np.arange(len(data))
    cluster = clusters_of(data, rows)
    pairs = {(d, c) for d, c in zip(data.day, data.card, strict=True)}
    assert cluster.max() + 1 == len(pairs) < len(data)
    assert (clusters_of(msgspec.structs.replace(data, card=None), rows) == rows).all()


def test_test_days_of_one_class_are_refused(data: Dataset, windows: Windows) -> None:
    genuine = windows.test[data.label[windows.test] == 0]
    with pytest.raises(InputError, match="one class only"):
        evaluate(knowing(data, genuine), data, msgspec.structs.replace(windows, test=genuine))


def test_one_positive_to_test_on_has_figures_and_it_is_the_gate_that_refuses(
    data: Dataset, windows: Windows
) -> None:
    positives = windows.test[data.label[windows.test] == 1]
    others = windows.test[data.label[windows.test] == 0]
    few = msgspec.structs.replace(windows, test=np.sort(np.append(others, positives[:1])))
    found = evaluate(knowing(data, few.test), data, few)
    assert (found.positives, found.ap.value, found.auc.value) == (1, 1, 1)
    refused = {one.name: one.passed for one in TASK.checks(found, USE_CASE.policy.gate, USE_CASE.label)}
    assert not refused["test_positives"]


def test_positives_that_are_drawn_together_have_figures(data: Dataset, windows: Windows) -> None:
    """All on one card's day: every third draw holds none."""
    positive = data.label == 1
    day, card = data.day.copy(), data.card.copy()
    day[positive & (day >= day[windows.test].min())] = day[windows.test].max()
    card[positive] = card[0]
    joint = msgspec.structs.replace(data, day=day, card=card)
    found = evaluate(knowing(joint, windows.test), joint, windows)
    assert found.positives > 10
    assert found.card_precision_interval is not None
    assert found.expected.low < found.expected.high


@pytest.mark.parametrize(
    ("positives", "events", "message"),
    [
        (0, 100, "all 100 .* are of one class"),
        (100, 100, "are of one class"),
        (MIN_TRAIN_EVENTS - 1, 100, f"19 events of the rarer class.*at least {MIN_TRAIN_EVENTS}"),
    ],
)
def test_labels_that_teach_nothing_are_refused(positives: int, events: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK.check_labels((np.arange(events) < positives).astype(np.int8))


def test_every_figure_has_an_interval_and_is_that_of_the_metric(data: Dataset, windows: Windows) -> None:
    rows, noise = windows.test, np.random.default_rng(0).random(len(data)).astype(np.float32)
    scores = (0.6 * knowing(data, np.arange(len(data))) + 0.4 * noise).astype(np.float32)
    found = evaluate(scores, data, windows)
    y, s = data.label[rows], scores[rows].astype(np.float64)
    assert found.auc.value == metrics.auc(y, s)
    assert found.brier.value == pytest.approx(metrics.brier(y, s))
    assert found.expected.value == pytest.approx(s.sum() / y.sum())
    assert found.cost_interval.value == pytest.approx(found.cost.total)
    assert found.card_precision_interval.value == found.card_precision.value
    for one in (found.auc, found.ap, found.brier, found.expected, found.cost_interval):
        assert one.low < one.value < one.high
    assert sum(one.events for one in found.reliability) == found.events
    assert sum(one.positives for one in found.reliability) == found.positives
    assert found.curves.scores.positives[-1] + sum(found.curves.scores.positives[:-1]) == found.positives
    assert {"auc_low", "brier_high", "cost_low", "cp10_high", "calibration_error"} <= set(found.metrics())


def test_slices_have_figures_where_their_support_allows_it(data: Dataset, windows: Windows) -> None:
    rows = windows.test
    sliced = msgspec.structs.replace(
        data, columns={"kind": np.where(data.label == 1, np.arange(len(data)) % 2 + 1, 0)}
    )
    slices = (
        Slice(name="load", feature="load", bands=(20, 1e6)),
        Slice(name="kind", column="kind", values=(1, 2)),
        Slice(name="site", column="site"),
    )
    scores = knowing(data, rows)
    found = TASK.evaluate(
        scores, sliced, windows, DECISIONS, USE_CASE.policy, seed=0, slices=slices, details=("kind",)
    ).slices
    assert [(one.name, one.value) for one in found] == [
        ("load", "below 20"),
        ("load", "20 to 1e+06"),
        ("kind", "1"),
        ("kind", "2"),
    ]
    light, heavy, odd, even = found
    assert light.events + heavy.events == len(rows)
    assert odd.positives + even.positives == (data.label[rows] == 1).sum()
    assert odd.events == len(rows) - even.positives
    assert heavy.figures["ap"].value == heavy.figures["stopped"].value == 1
    assert heavy.figures["false_alarms"].value == 0
    assert "expected" in heavy.figures
    assert "expected" not in odd.figures
    assert light.positives < MIN_POSITIVES
    assert light.figures is None


def test_thresholds_keep_the_capacity_and_say_what_it_changed(data: Dataset, windows: Windows) -> None:
    rows = windows.wait
    scores = knowing(data, rows)
    scores[rows[::9]] = 0.8  # others that look alike: to decline is dear
    scores += np.random.default_rng(0).normal(0, 0.01, len(scores)).astype(np.float32)
    costs = Costs(review=1, false_decline=1e6, chargeback=15)

    def decide(capacity: int | None) -> Decisions:
        policy = msgspec.structs.replace(
            USE_CASE.policy, costs=msgspec.structs.replace(costs, capacity=capacity)
        )
        return TASK.decide(scores, data, windows, policy)

    free, tight, roomy = decide(None), decide(5), decide(500)
    asked = metrics.workload(
        scores[rows], data.day[rows], review_at=free.review_at, decline_at=free.decline_at, capacity=5
    )
    assert "reviews" not in free.chosen_by
    assert asked.days_over == 2
    assert f"without that limit {asked.mean:,.0f} a day would have cost least" in tight.chosen_by
    kept = metrics.workload(
        scores[rows], data.day[rows], review_at=tight.review_at, decline_at=tight.decline_at, capacity=5
    )
    assert kept.most <= 5
    assert (roomy.review_at, roomy.decline_at) == (free.review_at, free.decline_at)
    assert "which no day asked for more than" in roomy.chosen_by


def test_the_card_says_where_more_reviews_are_asked_for_than_can_be_done(
    data: Dataset, windows: Windows
) -> None:
    policy = msgspec.structs.replace(USE_CASE.policy, costs=Costs(capacity=2))
    found = TASK.evaluate(knowing(data, windows.test), data, windows, DECISIONS, policy, seed=0)
    assert found.workload.days_over == found.workload.days == 3
    text = "".join(TASK.card(found, DECISIONS, USE_CASE.label).sections)
    assert f"on 3 days more is asked for, {found.workload.left_over:,} reviews in all" in text
