"""The model card says what the run knows, and what its use case says of use and limits."""

from __future__ import annotations

import msgspec
import pytest

import usecases.fraud
from mlops.bundle import Decisions
from mlops.metrics import (
    CardPrecision,
    Cost,
    CostCurve,
    Curve,
    Interval,
    Reliability,
    RocCurve,
    Workload,
)
from mlops.slices import Slice, SliceFigures
from mlops.spread import Spread
from mlops.wording import definitions
from tests.training import example
from training.ablation import Ablated
from training.card import CardFacts, model_card
from training.parity import Parity
from training.tasks.classification import NEVER, ClassificationEvaluation
from training.tasks.classification.figures import Curves, Histogram

FACTS = CardFacts(
    run_id="run7",
    created_at="2018-08-15T00:00:00+00:00",
    commit="abc123",
    seed=4,
    fingerprint="f00d",
    first_day="2018-07-25",
    train_window="2018-07-25 to 2018-07-31",
    test_window="2018-08-08 to 2018-08-14",
    train_events=13_000,
    test_events=12_000,
    unlabelled=17,
    known_cards=1_234,
    lock_digest="10cc",
    features_digest="fea7",
    fit_seconds=12.34,
)
SLICES = (Slice(name="night", feature="is_night"), Slice(name="region", column="region"))


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, confidence=0.9)


EVALUATION = ClassificationEvaluation(
    events=12_000,
    positives=96,
    train_events=13_000,
    train_positives=130,
    auc=interval(0.8765, 0.8512, 0.9034),
    ap=interval(0.6543, 0.6012, 0.7034),
    brier=interval(0.00456, 0.00399, 0.00501),
    brier_constant=0.00794,
    calibration_error=0.00123,
    expected=interval(1.25, 1.1, 1.4),
    reliability=(
        Reliability(
            low=0.0001,
            high=0.25,
            events=11_900,
            positives=20,
            mean_score=0.0042,
            observed=interval(0.0017, 0.0010, 0.0025),
        ),
    ),
    card_precision=CardPrecision(value=0.0671, oracle=0.0914, k=100),
    card_precision_interval=interval(0.0671, 0.0612, 0.0734),
    cost=Cost(
        total=2_566,
        reviews=500,
        false_declines=400,
        missed_frauds=1_666,
        approved=(11_800, 16),
        reviewed=(90, 30),
        declined=(14, 50),
    ),
    cost_interval=interval(2_566, 2_012, 3_034),
    cost_approve_all=11_952,
    workload=Workload(capacity=20, mean=17.1, most=25, days=7, days_over=2, left_over=9),
    baseline="high amount",
    baseline_ap=0.252,
    slices=(
        SliceFigures(
            name="night",
            value="night",
            events=3_000,
            positives=40,
            figures={"ap": interval(0.5, 0.4, 0.6), "stopped": interval(0.75, 0.7, 0.8)},
        ),
        SliceFigures(name="night", value="day", events=9_000, positives=5, figures=None),
    ),
    curves=Curves(
        precision_recall=Curve(recall=[0.5, 1.0], precision=[0.9, 0.1], threshold=[0.8, 0.1]),
        roc=RocCurve(false_positive_rate=[0.0, 0.2, 1.0], true_positive_rate=[0.0, 0.9, 1.0]),
        scores=Histogram(borders=[0.0, 0.1, 1.0], others=[11_800, 104], positives=[16, 80]),
        cost=CostCurve(threshold=[0.1, 0.9], review=[2_700.0, 2_500.0], decline=[9_000.0, 2_800.0]),
    ),
)
ABLATION = (
    Ablated(group="calendar", features=("is_night", "is_weekend"), loss=interval(0.012, -0.001, 0.024)),
    Ablated(group="sequence by card", features=("amount_1", "amount_2"), loss=None),
)


def card(package: str = "usecases.fraud", facts: CardFacts = FACTS, **decisions: float) -> str:
    use_case = usecases.fraud.USE_CASE if package == "usecases.fraud" else example.USE_CASE
    use_case = msgspec.structs.replace(use_case, slices=SLICES)
    chosen = Decisions(**{"review_at": 0.125, "decline_at": 0.75, "chosen_by": "least cost", **decisions})
    parity = Parity(rows=2_000, max_abs_diff=6.6e-7)
    return model_card(package, use_case, use_case.candidates[1], facts, EVALUATION, chosen, parity)


@pytest.mark.parametrize(
    "fact",
    [
        "| training | 2018-07-25 to 2018-07-31 | 13,000 | 130 | 1.00% |",
        "| test | 2018-08-08 to 2018-08-14 | 12,000 | 96 | 0.80% |",
        "17 events whose label is not known, and 1,234 events",
        "| average precision | 0.654 | 0.601 to 0.703 |",
        "| best single feature | 0.252 |  | average precision of high amount |",
        "| area under the ROC curve | 0.876 | 0.851 to 0.903 |",
        "| card precision@100 | 0.067 | 0.061 to 0.073 | a perfect scorer reaches 0.091 |",
        "| Brier score | 0.00456 | 0.00399 to 0.00501 | the share of frauds alone has 0.00794 |",
        "| expected calibration error | 0.00123 |",
        "| 6.6e-07 |  | at most so far apart over 2,000 rows |",
        "add up to 120 frauds, where there are 96: 1.25 (90% interval 1.10 to 1.40) times",
        "| 0.0001 to 0.2500 | 11,900 | 20 | 0.0042 | 0.0017 | 0.0010 to 0.0025 |",
        "| night | night | 3,000 | 40 | 0.500 (0.400 to 0.600) | – | – | 75% (70% to 80%) | – |",
        "| night | day | 9,000 | 5 | – | – | – | – | – |",
        "The data does not tell region.",
        "on 2 days more is asked for, 9 reviews in all that nobody would get to",
        "Fitted in 12.3 s at effort quick",
        "Not run at effort quick",
        "| decline | from 0.7500 | 14 | 50 |",
        "| review | from 0.1250 | 90 | 30 |",
        "They stop 80 of 96 frauds, and cost 2,566 (90% interval 2,012 to 3,034)",
        "would have cost 11,952",
        "`run7`",
        "| code | commit `abc123` |",
        "| packages | lock `10cc` |",
        "| data | feature table with fingerprint `f00d` |",
        "| features | definitions `fea7` |",
        "| seed | 4 |",
        "mlops train --train-from 2018-07-25 --candidate mlp-torch --seed 4 --effort quick",
        "The events are simulated.",
    ],
)
def test_the_card_holds(fact: str) -> None:
    assert fact in card()


def test_every_feature_is_listed_with_unit_and_description() -> None:
    text, words = card(), definitions(usecases.fraud.USE_CASE.features)
    for name, unit, description in usecases.fraud.USE_CASE.features.describe():
        assert description
        assert f"| `{name}` | {unit} | {words[name]} | {description} |" in text


def test_use_and_limits_are_the_use_cases_words() -> None:
    text = card()
    assert "## Intended use" in text
    assert "about 0.25 %" in text
    assert "seven times lower" in text


def test_a_use_case_without_words_and_simulator_has_a_card_as_well() -> None:
    text = card("tests.training.example")
    assert "# Machines that fail: torch" in text
    assert "Intended use" not in text
    assert "simulated" not in text


def test_a_threshold_out_of_reach_is_said_to_be() -> None:
    assert "| decline | never | 14 | 50 |" in card(decline_at=NEVER)


def test_ablation_importance_and_spread_are_told_where_they_were_looked_into() -> None:
    facts = msgspec.structs.replace(
        FACTS,
        ablation=ABLATION,
        importance={"is_night": 0.125, "amount": 0.875},
        spread=Spread(folds=(0.61, 0.65), seeds=(0.62, 0.63)),
        effort="standard",
    )
    text = card(facts=facts)
    assert "| calendar | 2 | +0.0120 | -0.0010 to +0.0240 |" in text
    assert "| sequence by card | 2 | – | cannot be fitted without |" in text
    assert text.index("| `amount` | 87.5% |") < text.index("| `is_night` | 12.5% |")
    assert "reached 0.61 0.65 on validation folds, and 0.62 0.63 with other seeds" in text
    assert "Not run" not in text
