"""What takes too long or too much space is refused, with what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.rules.given import classified, gate
from training.rules import budgets
from training.rules.budgets import latency, size


def test_a_row_is_scored_within_the_budget_or_the_model_is_refused(tmp_path: Path) -> None:
    evidence = classified(tmp_path)
    (check,) = latency(evidence)
    assert check.passed is True
    assert check.observed is not None
    assert 0 < check.observed < 5
    (refused,) = latency(gate(evidence, max_latency_ms=1e-6))
    assert refused.passed is False
    assert refused.text.startswith("Refused: one row takes ")
    assert "at most 1e-06 ms is asked for" in refused.text


@pytest.mark.parametrize(("enough", "rounds"), [(0.0, 2), (1e9, 5)])
def test_the_rounds_that_were_made_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enough: float, rounds: int
) -> None:
    monkeypatch.setattr(budgets, "_ENOUGH_S", enough)
    (check,) = latency(classified(tmp_path))
    assert f"the best of {rounds} rounds" in check.text


def test_all_files_of_a_bundle_count(tmp_path: Path) -> None:
    evidence = classified(tmp_path / "bundle")
    (tmp_path / "bundle" / "report").mkdir()
    (tmp_path / "bundle" / "report" / "more.html").write_bytes(b"x" * 2_000_000)
    (check,) = size(gate(evidence, max_bundle_mb=2.0))
    assert check.passed is False
    assert check.observed is not None
    assert 2.0 < check.observed < 2.1
    assert size(evidence)[0].passed is True
