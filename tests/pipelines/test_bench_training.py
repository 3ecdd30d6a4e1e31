"""Learning from a table and from memory is timed, a process each."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipelines.bench_training import Table, TrainingBench, bench_training


def test_a_fit_is_timed_with_and_without_a_table(tmp_path: Path) -> None:
    table = Table(days=3, rows_a_day=2_000, features=5, days_in_memory=2)
    result = bench_training(tmp_path, table, ["pytorch"])
    assert msgspec.json.decode((tmp_path / "training.json").read_bytes(), type=TrainingBench) == result
    on_cpu = [fit for fit in result.fits if fit.device == "cpu"]
    assert [(fit.framework, fit.source, fit.rows) for fit in on_cpu] == [
        ("", "table", 6_000),
        ("pytorch", "memory", 4_000),
        ("pytorch", "table", 6_000),
    ]
    assert all(fit.rows_a_second > 0 and fit.peak_mb > 50 for fit in result.fits)
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]
