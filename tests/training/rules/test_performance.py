"""A candidate must be worth a model, beat one feature, and beat the champion beyond noise."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.training.rules.given import EVENTS, classified, gate, measured, with_champion
from training.rules.performance import champion, performance


def noisy(scores: np.ndarray, share: float) -> np.ndarray:
    return np.where(np.random.default_rng(5).random(len(scores)) < share, np.median(scores), scores)


def test_a_good_model_passes_and_limits_out_of_its_reach_refuse(tmp_path: Path) -> None:
    passed = {c.name: c.passed for c in performance(gate(classified(tmp_path), baseline_margin=-0.01))}
    assert passed == {"test_positives": True, "auc": True, "baseline": True}
    strict = gate(classified(tmp_path), min_test_positives=5_000, min_auc=0.99, baseline_margin=0.5)
    assert {c.name: c.passed for c in performance(strict)} == dict.fromkeys(passed, False)


def test_a_regression_has_checks_of_its_own(tmp_path: Path) -> None:
    assert [(c.name, c.passed) for c in performance(gate(measured(tmp_path), baseline_margin=-0.5))] == [
        ("test_events", True),
        ("constant", True),
        ("baseline", True),
    ]


def test_without_a_champion_that_is_not_judged(tmp_path: Path) -> None:
    (check,) = champion(classified(tmp_path))
    assert (check.passed, check.observed) == (None, None)
    assert check.text == "Not judged: there is no champion to be better than."


def test_a_clearly_better_candidate_passes_and_an_equal_one_does_not(tmp_path: Path) -> None:
    evidence = classified(tmp_path)
    (better,) = champion(with_champion(evidence, np.random.default_rng(0).random(EVENTS)))
    (equal,) = champion(with_champion(evidence, evidence.scores))
    assert (better.passed, equal.passed) == (True, False)
    (noise,) = champion(with_champion(evidence, noisy(evidence.scores, 0.02)))
    assert noise.observed is not None
    assert not noise.passed  # a little better, within noise


@pytest.mark.parametrize(("trained_until", "passed"), [("2018-05-12", True), ("2018-05-13", False)])
def test_days_that_the_champion_was_trained_on_do_not_count(
    tmp_path: Path, trained_until: str, passed: bool
) -> None:
    judged = with_champion(classified(tmp_path), 1 - classified(tmp_path).scores)
    assert judged.champion is not None
    known = msgspec.structs.replace(judged.champion, trained_until=trained_until)
    (found,) = champion(msgspec.structs.replace(judged, champion=known))
    assert found.passed is passed
    assert passed or "was trained until 2018-05-13, and the test days begin on 2018-05-13" in found.text
