"""Served features against computed ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.errors import InputError
from pipelines.parity import Difference, compare

NAMES = {"b": ("count", "mean")}


def table(folder: Path, columns: dict[str, Any]) -> Path:
    """With the bundle that answered, as served tables have it."""
    folder.mkdir()
    columns = {"bundle": ["b"] * len(columns["id"])} | columns
    pq.write_table(pa.table(columns), folder / "part.parquet")
    return folder


def test_equal_features_differ_by_nothing(tmp_path: Path) -> None:
    served = table(tmp_path / "s", {"id": [3, 1], "count": [1.0, 2.0], "mean": [None, 0.1]})
    computed = table(tmp_path / "f", {"id": [1, 2, 3], "count": [2, 5, 1], "mean": [0.1, 0.0, math.nan]})
    result = compare(served, computed, NAMES, "id")
    assert (result.events, result.compared, result.differences) == (2, 2, 0)
    assert result.max_abs_diff == 0.0
    assert result.differing == ()


def test_differences_down_to_the_last_bit_are_named_worst_first(tmp_path: Path) -> None:
    served = table(tmp_path / "s", {"id": ["a", "b"], "count": [1.0, 2.0], "mean": [0.3, 1.0]})
    computed = table(tmp_path / "f", {"id": ["b", "a"], "count": [4.0, 1.0], "mean": [1.0, 0.1 + 0.2]})
    result = compare(served, computed, NAMES, "id")
    assert (result.events, result.compared, result.differences) == (2, 2, 2)
    assert result.max_abs_diff == 2.0
    assert [(d.event_id, d.feature) for d in result.differing] == [("b", "count"), ("a", "mean")]
    assert result.differing[0] == Difference(event_id="b", feature="count", served=2.0, computed=4.0)


def test_a_value_missing_on_one_side_differs_infinitely(tmp_path: Path) -> None:
    served = table(tmp_path / "s", {"id": [1], "count": [1.0], "mean": pa.array([None], pa.float64())})
    computed = table(tmp_path / "f", {"id": [1], "count": [1.0], "mean": [0.0]})
    assert compare(served, computed, NAMES, "id").max_abs_diff == math.inf


@pytest.mark.parametrize("computed_ids", [[2, 3], [3, 4], [1, 2, 2]])
def test_events_that_are_not_in_the_feature_table_once_do_not_agree(
    tmp_path: Path, computed_ids: list[int]
) -> None:
    served = table(tmp_path / "s", {"id": [1, 2], "count": [1.0, 1.0], "mean": [1.0, 1.0]})
    ones = [1.0] * len(computed_ids)
    computed = table(tmp_path / "f", {"id": computed_ids, "count": ones, "mean": ones})
    result = compare(served, computed, NAMES, "id")
    assert (result.differences, result.max_abs_diff) == (0, math.inf)


def test_nothing_served_is_no_agreement(tmp_path: Path) -> None:
    none = table(tmp_path / "s", {"id": pa.array([], pa.int64()), "count": [], "mean": []})
    computed = table(tmp_path / "f", {"id": [1], "count": [1.0], "mean": [1.0]})
    assert compare(none, computed, NAMES, "id").max_abs_diff == math.inf


def test_only_the_worst_few_are_listed(tmp_path: Path) -> None:
    numbers = list(range(50))
    served = table(tmp_path / "s", {"id": numbers, "count": numbers, "mean": numbers})
    computed = table(tmp_path / "f", {"id": numbers, "count": [0] * 50, "mean": numbers})
    result = compare(served, computed, NAMES, "id")
    assert result.differences == 49
    assert [d.event_id for d in result.differing] == list(range(49, 39, -1))


def test_a_missing_table_or_column_is_named(tmp_path: Path) -> None:
    served = table(tmp_path / "s", {"id": [1], "count": [1.0]})
    with pytest.raises(InputError, match="no such table"):
        compare(served, tmp_path / "absent", {"b": ("count",)}, "id")
    with pytest.raises(InputError, match="no column mean"):
        compare(served, served, NAMES, "id")


def test_what_answered_is_compared_in_the_features_that_it_read(tmp_path: Path) -> None:
    served = table(
        tmp_path / "s",
        {"id": [1, 2], "bundle": ["old", "new"], "count": [1.0, None], "mean": [None, 0.5]},
    )
    computed = table(tmp_path / "f", {"id": [1, 2], "count": [1.0, 9.0], "mean": [9.0, 0.25]})
    result = compare(served, computed, {"old": ("count",), "new": ("mean",), "unused": ("absent",)}, "id")
    assert (result.compared, result.max_abs_diff) == (2, 0.25)
    assert [(d.event_id, d.feature) for d in result.differing] == [(2, "mean")]
