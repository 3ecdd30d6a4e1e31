"""What is measured of reasons is what serving would do, and exact values are the yardstick."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlops.settings import Settings
from pipelines.bench_reasons import ReasonsBench, _accuracy, bench_reasons

WORLD = {"customers": 60, "terminals": 80, "days": 40}


def test_reasons_are_timed_and_compared_with_exact_ones(tmp_path: Path) -> None:
    result = bench_reasons(Settings(home=tmp_path), tmp_path, world=WORLD, timed=20, exact=3)
    assert msgspec.json.decode((tmp_path / "reasons.json").read_bytes(), type=ReasonsBench) == result
    assert (result.features, result.trees, result.rows_timed, result.rows_exact) == (15, 100, 20, 3)
    assert 0 < result.p50_ms <= result.p99_ms
    assert 1 < result.scores_a_row <= 385
    assert 0 <= result.accuracy.error < 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["reasons.json"]


def test_accuracy_is_counted_by_row() -> None:
    wanted = np.array([[0.5, 0.3, 0.1, 0.1], [-0.4, -0.2, 0.1, 0.0]])
    assert _accuracy(wanted, wanted).top3_equal == 1
    found = _accuracy(wanted + np.array([[0, 0.3, 0, 0], [0, 0, 0.2, 0]]), wanted)
    assert (found.error, found.worst_error, found.top1_equal) == (
        pytest.approx(0.25),
        pytest.approx(0.3),
        0.5,
    )
    assert found.error_share == pytest.approx((0.3 / 1.0 + 0.2 / 0.7) / 2, abs=1e-4)
