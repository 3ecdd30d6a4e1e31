"""A candidate that is better on the whole, and surely worse on a part, is refused; noise refuses nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.training.rules.given import EVENTS, classified, drawn, gate, measured, with_champion
from training.checks import Check
from training.evidence import Evidence
from training.rules.slices import slices


def judged(evidence: Evidence) -> Check:
    (check,) = slices(evidence)
    return check


def where_high(broken: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`broken` for events with a high load."""
    return np.where(drawn()[0].features[:, 0] >= 0.5, broken, whole)


def test_a_candidate_that_fails_on_a_part_is_refused_with_the_part(tmp_path: Path) -> None:
    probability = drawn()[1]
    broken = where_high(np.random.default_rng(0).random(EVENTS) * 0.1, probability)
    check = judged(with_champion(classified(tmp_path, broken), probability))
    assert check.passed is False
    assert check.observed is not None
    assert check.observed < check.limit == -0.05
    assert "worst against the champion where load is high" in check.text
    assert "of 2 slices with at least 20 positives" in check.text


@pytest.mark.parametrize("seed", range(5))
def test_models_that_differ_by_chance_pass(tmp_path: Path, seed: int) -> None:
    probability, rng = drawn()[1], np.random.default_rng(seed)
    ours, theirs = (probability * np.exp(rng.normal(0, 0.5, EVENTS)) for _ in range(2))
    assert judged(with_champion(classified(tmp_path, ours), theirs)).passed is True


def test_what_counts_as_worse_is_the_policys_to_say(tmp_path: Path) -> None:
    probability = drawn()[1]
    broken = where_high(np.random.default_rng(0).random(EVENTS) * 0.1, probability)
    tolerant = gate(with_champion(classified(tmp_path, broken), probability), slice_margin=0.9)
    assert judged(tolerant).passed is True


def test_regressions_are_judged_by_their_errors(tmp_path: Path) -> None:
    hours = 100 + 500 * drawn()[1]
    broken = where_high(np.full(EVENTS, hours.mean()), hours)
    check = judged(with_champion(measured(tmp_path, broken), hours))
    assert check.passed is False
    assert "load is high" in check.text
    assert judged(with_champion(measured(tmp_path), hours + 1)).passed is True


@pytest.mark.parametrize(
    ("limits", "champion", "declared", "why"),
    [
        ({}, False, True, "no champion to compare with"),
        ({}, True, False, "declares no slices"),
        ({"min_slice_positives": EVENTS}, True, True, "no slice has 4000 positives"),
    ],
)
def test_where_there_is_nothing_to_judge_by_the_rule_says_so(
    tmp_path: Path, limits: dict[str, Any], champion: bool, declared: bool, why: str
) -> None:
    evidence = classified(tmp_path)
    if champion:
        evidence = with_champion(evidence, evidence.scores)
    evidence = gate(evidence, **limits)
    if not declared:
        bare = msgspec.structs.replace(evidence.use_case, slices=())
        evidence = msgspec.structs.replace(evidence, use_case=bare)
    check = judged(evidence)
    assert check.passed is None
    assert why in check.text
