from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops.errors import ConfigError, InputError
from mlops.policy import Drift
from monitoring.drift import detect_drift

POLICY = Drift(method="wasserstein", threshold=0.1, share=0.3)
NAMES = ("amount", "count", "night")


def _world(seed: int, *, dearer: float = 1.0, busier: float = 0.0, rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": rng.exponential(50, rows) * dearer,
            "count": rng.poisson(4 + busier, rows).astype(float),
            "night": (rng.random(rows) < 0.2).astype(float),
        }
    )


def test_finds_the_features_that_moved_and_no_others(tmp_path: Path) -> None:
    found = detect_drift(_world(0), _world(1, dearer=1.4), NAMES, POLICY, tmp_path / "drift.html")
    assert found.drifted_features == ("amount",)
    assert found.share == pytest.approx(1 / 3) and found.drifted
    assert [column.statistic for column in found.columns] == ["wasserstein"] * 3


def test_finds_nothing_between_two_samples_of_one_distribution(tmp_path: Path) -> None:
    found = detect_drift(_world(0), _world(1), NAMES, POLICY, tmp_path / "drift.html")
    assert not found.drifted and not found.drifted_features


def test_is_no_drift_of_the_data_while_too_few_features_moved(tmp_path: Path) -> None:
    policy = Drift(method="wasserstein", threshold=0.1, share=0.5)
    found = detect_drift(_world(0), _world(1, dearer=1.4), NAMES, policy, tmp_path / "drift.html")
    assert found.drifted_features == ("amount",) and not found.drifted


def test_the_statistic_comes_from_the_policy_and_its_own_direction_decides(tmp_path: Path) -> None:
    policy = Drift(method="ks", threshold=0.01, share=0.3)  # a p-value: small means drift
    found = detect_drift(_world(0), _world(1, dearer=1.4), NAMES, policy, tmp_path / "drift.html")
    assert found.drifted_features == ("amount",)


def test_constant_and_empty_columns_do_not_stop_it(tmp_path: Path) -> None:
    before, after = _world(0), _world(1)
    for frame in (before, after):
        frame["same"], frame["never"] = 1.0, np.nan
    before["moved"], after["moved"] = 1.0, 2.0
    before["gone"], after["gone"] = 1.0, np.nan
    names = (*NAMES, "same", "never", "moved", "gone")
    found = {c.name: c for c in detect_drift(before, after, names, POLICY, tmp_path / "drift.html").columns}
    assert {name for name, column in found.items() if column.drifted} == {"moved", "gone"}
    assert found["gone"].value is None and found["never"].value is None


def test_where_all_values_are_gone_there_is_drift_but_no_report_and_no_old_one_either(tmp_path: Path) -> None:
    report = tmp_path / "drift.html"
    report.write_text("of an earlier run")
    gone = pd.DataFrame({"amount": [np.nan, np.nan]})
    assert detect_drift(_world(0), gone, ("amount",), POLICY, report).drifted
    assert not detect_drift(gone, gone, ("amount",), POLICY, report).drifted
    assert not report.exists()


def test_the_report_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    report = tmp_path / "drift.html"
    detect_drift(_world(0), _world(1), NAMES, POLICY, report)
    page = report.read_text()
    assert "Dataset Drift" in page
    for reference in ("<script src", "<link ", "<img src"):
        assert reference not in page
    assert not [path for path in tmp_path.iterdir() if path != report]


def test_reads_parquet_and_names_a_column_that_is_missing(tmp_path: Path) -> None:
    _world(0).to_parquet(tmp_path / "before.parquet")
    _world(1).drop(columns="night").to_parquet(tmp_path / "after.parquet")
    with pytest.raises(InputError, match=r"after\.parquet: has no column night"):
        detect_drift(
            tmp_path / "before.parquet", tmp_path / "after.parquet", NAMES, POLICY, tmp_path / "drift.html"
        )


def test_says_when_a_side_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="current data: has no rows"):
        detect_drift(_world(0), _world(1, rows=0), NAMES, POLICY, tmp_path / "drift.html")


def test_names_a_statistic_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        detect_drift(_world(0), _world(1), NAMES, Drift(method="nonsense"), tmp_path / "drift.html")
