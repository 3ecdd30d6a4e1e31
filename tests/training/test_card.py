"""The model card says what the run knows, and what its use case says of use and limits."""

from __future__ import annotations

import msgspec
import pytest

import usecases.fraud
from mlops.bundle import Decisions
from mlops.spread import Spread
from mlops.wording import definitions
from tests.training import example
from tests.training.judged import ABLATION, EVALUATION, FACTS, SLICES
from training.card import CardFacts, model_card
from training.parity import Parity
from training.tasks.classification import NEVER


def card(package: str = "usecases.fraud", facts: CardFacts = FACTS, **decisions: float) -> str:
    fraud = msgspec.structs.replace(usecases.fraud.USE_CASE, slices=SLICES)
    use_case = fraud if package == "usecases.fraud" else example.USE_CASE
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
        "add up to 120 frauds, where there are 96: an expected/observed ratio of 1.25 (90% interval 1.10 to 1.40)",
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
        "| packages | installed `10cc` |",
        "| data | feature table with fingerprint `f00d` |",
        "| features | definitions `fea7` |",
        "| seed | 4 |",
        "mlops train --train-from 2018-07-25 --candidate mlp-torch --seed 4 --effort quick",
        "The events are simulated.",
    ],
)
def test_the_card_holds(fact: str) -> None:
    assert fact in card()


def test_every_feature_that_it_reads_is_listed_with_unit_and_description() -> None:
    use_case = usecases.fraud.USE_CASE
    features = use_case.features_of(use_case.candidates[1])
    text, words = card(), definitions(features)
    for name, unit, description in features.describe():
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
        spread=Spread(folds=(0.61, 0.65), seeds=(0.62, None, 0.63)),
        effort="standard",
    )
    text = card(facts=facts)
    assert "| calendar | 2 | +0.0120 | -0.0010 to +0.0240 |" in text
    assert "| sequence by card | 2 | +0.0500 | +0.0300 to +0.0700 |" in text
    assert text.index("| `amount` | 87.5% |") < text.index("| `is_night` | 12.5% |")
    assert "reached 0.61 0.65; with one seed and another, 0.62 divergence 0.63 in the mean" in text
    assert "Not run" not in text
