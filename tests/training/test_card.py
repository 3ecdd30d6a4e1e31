"""The model card says what the run knows, and what its use case says of use and limits."""

from __future__ import annotations

import pytest

import usecases.fraud
from mlops.bundle import Decisions
from mlops.metrics import CardPrecision, Cost, Interval
from mlops.wording import definitions
from tests.training import example
from training.card import CardFacts, model_card
from training.parity import Parity
from training.tasks.classification import NEVER, ClassificationEvaluation

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
)
EVALUATION = ClassificationEvaluation(
    events=12_000,
    positives=96,
    train_events=13_000,
    train_positives=130,
    auc=0.8765,
    ap=Interval(value=0.6543, low=0.6012, high=0.7034, confidence=0.9),
    card_precision=CardPrecision(value=0.0671, oracle=0.0914, k=100),
    cost=Cost(
        total=2_566,
        reviews=500,
        false_declines=400,
        missed_frauds=1_666,
        approved=(11_800, 16),
        reviewed=(90, 30),
        declined=(14, 50),
    ),
    cost_approve_all=11_952,
    baseline="high amount",
    baseline_ap=0.252,
)


def card(package: str = "usecases.fraud", **decisions: float) -> str:
    use_case = usecases.fraud.USE_CASE if package == "usecases.fraud" else example.USE_CASE
    chosen = Decisions(**{"review_at": 0.125, "decline_at": 0.75, "chosen_by": "least cost", **decisions})
    parity = Parity(rows=2_000, max_abs_diff=6.6e-7)
    return model_card(package, use_case, use_case.candidates[1], FACTS, EVALUATION, chosen, parity)


@pytest.mark.parametrize(
    "fact",
    [
        "| training | 2018-07-25 to 2018-07-31 | 13,000 | 130 | 1.00% |",
        "| test | 2018-08-08 to 2018-08-14 | 12,000 | 96 | 0.80% |",
        "17 events whose label is not known, and 1,234 events",
        "0.654 (90% interval 0.601 to 0.703)",
        "0.252 average precision (high amount)",
        "| card precision@100 | 0.067, where a perfect scorer reaches 0.091 |",
        "at most 6.6e-07 apart over 2,000 rows",
        "| decline | from 0.7500 | 14 | 50 |",
        "| review | from 0.1250 | 90 | 30 |",
        "They cost 2,566",
        "would have cost 11,952",
        "`run7`",
        "commit `abc123`, seed 4",
        "fingerprint `f00d`, from 2018-07-25 on",
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
