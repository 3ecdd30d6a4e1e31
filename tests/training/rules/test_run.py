"""What the run itself shows: its features' importance, its spread, its age, its parity."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlops.spread import Spread
from tests.training.rules.given import classified, gate, measured
from training.rules.freshness import freshness
from training.rules.importance import importance
from training.rules.parity import parity
from training.rules.spread import spread


@pytest.mark.parametrize(
    ("shares", "passed", "words"),
    [
        ({"load": 0.5, "rpm": 0.5}, True, "50% of what moves the scores is load"),
        ({"load": 0.03, "rpm": 0.97}, False, "97% of what moves the scores is rpm; at most 90%"),
        ({"load": 1.0}, None, "one feature only"),
        ({}, None, "no importance"),
    ],
)
def test_a_model_that_is_made_of_one_feature_is_refused(
    tmp_path: Path, shares: dict[str, float], passed: bool | None, words: str
) -> None:
    (check,) = importance(classified(tmp_path, importance=shares))
    assert check.passed is passed
    assert words in check.text


@pytest.mark.parametrize(
    ("folds", "seeds", "passed", "words"),
    [
        ((0.7, 0.72, 0.68, 0.7), (0.7, 0.71), True, "over 2 seeds the headline figure varies by 1.0%"),
        (
            (0.7, 0.2, 0.9, 0.1),
            (0.7, 0.71),
            True,
            "over 4 folds by 81.3%, the chance in their events included",
        ),
        ((0.7, 0.7), (0.2, 0.9, 0.4), False, "over 3 seeds"),
        ((0.7,), (0.2, 0.9, 0.4), False, "(standard deviation); at most 10.0% over seeds"),
        ((-21.0, -19.5), (-20.0, -19.0), True, "over 2 seeds"),
        ((0.0, 0.0), (0.0, 0.0), None, "is 0 on every fold"),
        ((0.7, 0.7), (0.7,), None, "one seed was tried"),
        ((0.7, 0.7), (0.7, 0.7, None), False, "Refused: the fit diverges with seed 2; "),
        ((0.7, 0.7), (0.7, None, None), False, "Refused: the fit diverges with seed 1 and 2; "),
    ],
)
def test_a_figure_that_does_not_hold_with_other_seeds_is_refused(
    tmp_path: Path,
    folds: tuple[float, ...],
    seeds: tuple[float | None, ...],
    passed: bool | None,
    words: str,
) -> None:
    (check,) = spread(classified(tmp_path, spread=Spread(folds=folds, seeds=seeds)))
    assert check.passed is passed
    assert words in check.text


def test_at_quick_effort_spread_is_not_judged_and_says_so(tmp_path: Path) -> None:
    (check,) = spread(classified(tmp_path, effort="quick"))
    assert check.passed is None
    assert check.text.startswith("Not judged: at effort quick one model is trained")


@pytest.mark.parametrize(("until", "age"), [("2018-05-10", 0), ("2018-05-13", 0), ("2018-05-01", 9)])
def test_age_counts_from_the_last_day_that_the_split_allows(tmp_path: Path, until: str, age: int) -> None:
    (check,) = freshness(gate(classified(tmp_path, trained_until=until), max_age_days=8))
    assert check.observed == age
    assert check.passed is (age < 9)


def test_data_without_days_have_no_age(tmp_path: Path) -> None:
    assert freshness(measured(tmp_path))[0].passed is None
    assert freshness(classified(tmp_path, trained_until=""))[0].passed is None


@pytest.mark.parametrize(("difference", "passed"), [(1e-7, True), (1e-5, True), (1.1e-5, False)])
def test_a_graph_that_says_something_else_is_refused(tmp_path: Path, difference: float, passed: bool) -> None:
    (check,) = parity(classified(tmp_path, onnx_max_abs_diff=difference))
    assert check.passed is passed
    assert "over 10,000 rows" in check.text


def test_rules_see_the_limits_of_the_policy(tmp_path: Path) -> None:
    evidence = classified(tmp_path, onnx_max_abs_diff=0.01)
    assert parity(gate(evidence, parity_tolerance=0.1))[0].passed is True
    assert importance(gate(evidence, max_importance=0.5))[0].passed is False
    wide = msgspec.structs.replace(
        evidence, result=msgspec.structs.replace(evidence.result, spread=Spread(folds=(1, 2), seeds=(1, 2)))
    )
    assert spread(gate(wide, max_spread=1.0))[0].passed is True
