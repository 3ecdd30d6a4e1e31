"""A window of a feature table comes as sorted arrays, or with one line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.errors import InputError
from tests.training.example import FIRST_DAY, USE_CASE, other_definitions, rewrite, write_feature_table
from training.dataset import Dataset, load_dataset


def load(folder: Path, *, first_day: str = FIRST_DAY, days: int = 8) -> Dataset:
    return load_dataset(folder, USE_CASE, first_day=first_day, days=days)


def test_rows_of_all_files_come_in_order_of_time_as_float32(tmp_path: Path) -> None:
    data = load(write_feature_table(tmp_path / "features"))
    assert len(data) == 3_200
    assert (np.diff(data.time_us) > 0).all()
    assert (np.bincount(data.day) == 400).all()
    assert data.features.dtype == np.float32
    assert data.names == ("load", "is_night", "machine_count_1d", "machine_count_7d")
    assert (data.features[:, 0] == data.amount.astype(np.float32)).all()


def test_a_window_holds_its_days_only_counted_from_its_first(tmp_path: Path) -> None:
    data = load(write_feature_table(tmp_path / "features"), first_day="2018-05-10", days=3)
    assert sorted(set(data.day)) == [0, 1, 2]
    assert len(data) == 1_200


def test_an_unknown_label_is_neither_fraud_nor_genuine(tmp_path: Path) -> None:
    data = load(write_feature_table(tmp_path / "features", unlabelled=70))
    assert (data.label == -1).sum() == 70
    assert set(data.label) == {-1, 0, 1}


def _labels(folder: Path) -> pa.ChunkedArray:
    return pq.read_table(folder).sort_by("event")["failed"]


def test_frauds_reported_early_do_not_count_where_others_are_awaited(tmp_path: Path) -> None:
    folder = write_feature_table(tmp_path / "features")
    failed = _labels(folder).to_numpy()
    awaited = np.arange(3_200) >= 2_400  # the last two days, and the label is due after two
    rewrite(folder, failed=pa.array(failed, mask=awaited & ~failed))
    data = load(folder)
    assert failed[awaited].any()
    assert (data.label[data.day >= 6] == -1).all()
    assert (data.label[:2_400] == failed[:2_400]).all()


def test_labels_do_not_count_from_the_first_that_is_awaited(tmp_path: Path) -> None:
    # The data end at noon, so that labels are due until noon of the day two days before.
    folder = write_feature_table(tmp_path / "features")
    whole = pq.read_table(folder).sort_by("event").slice(0, 3_000)
    failed = whole["failed"].to_numpy()
    awaited = np.arange(3_000) >= 2_200
    for part in folder.glob("*.parquet"):
        part.unlink()
    place = whole.schema.get_field_index("failed")
    column = pa.array(failed, mask=awaited & ~failed)
    pq.write_table(whole.set_column(place, "failed", column), folder / "part-0.parquet")
    data = load(folder)
    first = 2_200 + int(np.flatnonzero(~failed[2_200:])[0])
    assert (data.label[first:] == -1).all()
    assert (data.label[:first] == failed[:first]).all()


def test_a_label_that_never_came_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    folder = write_feature_table(tmp_path / "features")
    failed = _labels(folder).to_numpy()
    rewrite(folder, failed=pa.array(failed, mask=np.arange(3_200) == 2_000))
    assert np.flatnonzero(load(folder).label == -1).tolist() == [2_000]


def test_complete_labels_all_count(tmp_path: Path) -> None:
    folder = write_feature_table(tmp_path / "features")
    assert (load(folder).label == _labels(folder).to_numpy()).all()


@pytest.mark.parametrize("first_day", ["2018-05-07", "2018-05-09"])
def test_a_window_beyond_the_data_is_refused_with_the_days_that_there_are(
    tmp_path: Path, first_day: str
) -> None:
    folder = write_feature_table(tmp_path / "features")
    with pytest.raises(InputError, match=r"beyond the data, 2018-05-08 to 2018-05-15"):
        load(folder, first_day=first_day)


def test_what_is_no_date_is_refused(tmp_path: Path) -> None:
    folder = write_feature_table(tmp_path / "features")
    with pytest.raises(InputError, match="not a date"):
        load(folder, first_day="8 May")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    folder = write_feature_table(tmp_path / "features")
    rewrite(folder, machine_count_7d=None)
    with pytest.raises(InputError, match="no column machine_count_7d"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), 1e300])
def test_a_feature_without_a_usable_value_is_named(tmp_path: Path, value: float) -> None:
    folder = write_feature_table(tmp_path / "features")
    rewrite(folder, machine_count_1d=[value] + [1.0] * 3_199)
    with pytest.raises(InputError, match="column machine_count_1d"):
        load(folder)


def test_a_table_made_from_other_definitions_is_refused(tmp_path: Path) -> None:
    folder = write_feature_table(tmp_path / "features")
    other_definitions(folder)
    with pytest.raises(InputError, match="definitions of machine_count_1d, machine_count_7d"):
        load(folder)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such table"):
        load(tmp_path)
