"""Scores are probabilities, and predictions are right on average, or the gate says by how much they are not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.training.rules.given import EVENTS, classified, drawn, gate, measured
from training.rules.calibration import calibration


@pytest.mark.parametrize("distortion", ["none", "slight"])
def test_probabilities_pass_even_if_they_are_a_little_off(tmp_path: Path, distortion: str) -> None:
    probability = drawn()[1]
    (check,) = calibration(classified(tmp_path, probability * (1.2 if distortion == "slight" else 1)))
    assert check.passed is True
    assert check.text.startswith("Passed: the scores expect ")


@pytest.mark.parametrize("distortion", ["too much", "too little", "overconfident"])
def test_scores_that_are_no_probabilities_are_refused(tmp_path: Path, distortion: str) -> None:
    probability = drawn()[1]
    scores = {
        "too much": 10 * probability / (1 + 9 * probability),
        "too little": probability / 10,
        "overconfident": np.where(drawn()[0].features[:, 1] > 0.9, 0.99, 0.0),
    }[distortion]
    (check,) = calibration(classified(tmp_path, scores))
    assert check.passed is False
    assert check.observed is not None
    assert check.observed > check.limit


def test_without_a_positive_nothing_is_judged(tmp_path: Path) -> None:
    evidence = msgspec.structs.replace(classified(tmp_path), labels=np.zeros(EVENTS, np.int8))
    assert calibration(evidence)[0].passed is None


@pytest.mark.parametrize(("shift", "passed"), [(0, True), (1, True), (-15, False), (15, False)])
def test_predictions_that_are_all_too_high_or_too_low_are_refused(
    tmp_path: Path, shift: float, passed: bool
) -> None:
    hours = 100 + 500 * drawn()[1]
    (check,) = calibration(gate(measured(tmp_path, hours + shift), max_bias=0.1))
    assert check.passed is passed
    assert shift == 0 or f"too {'high' if shift > 0 else 'low'} on average" in check.text
