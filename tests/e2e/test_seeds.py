"""At several seeds: a change that can be learned is learned, one that cannot is refused, none asks for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.demo import run_demo

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("change", ["new-pattern", "unlearnable", "none"])
def test_the_gate_tells_changes_apart(tmp_path: Path, change: str, seed: int) -> None:
    summary = run_demo(tmp_path / "demo", seed=seed, knobs={"change": change})
    assert summary.retrained == (change == "new-pattern")
    assert summary.requests_failed == 0
    assert summary.feature_parity_max_abs_diff == 0
