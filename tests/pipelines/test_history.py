"""The files of tables, as workers read them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.errors import InputError
from mlops.schema import Column, EventSchema
from pipelines.event_table import stored_types
from pipelines.history import arrow_schema, dealt_out, event_files, read_rows, table_files, with_labels

SCHEMA = EventSchema(
    id="id",
    time="at",
    columns=(
        Column(name="id", type="id"),
        Column(name="at", type="timestamp"),
        Column(name="tip", type="decimal", decimals=1, nullable=True, optional=True),
    ),
)
TYPES = stored_types(SCHEMA, ["id"])


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_files_are_dealt_out_evenly(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.parquet", id=list(range(n * 1000))) for n in (1, 1, 2, 9, 3, 3)]
    dealt = dealt_out(files, 2)
    sizes = [sum(Path(file).stat().st_size for file in hand) for hand in dealt]
    assert sorted(file for hand in dealt for file in hand) == sorted(map(str, files))
    assert max(sizes) < 1.3 * min(sizes)
    assert len(dealt_out(files[:1], 8)) == 1


def test_what_a_file_lacks_is_null_and_what_is_narrower_is_widened(tmp_path: Path) -> None:
    at = pa.array([0], pa.timestamp("us", "UTC"))
    old = write(tmp_path / "old.parquet", at=at, id=[1])
    new = write(tmp_path / "new.parquet", id=[2], tip=[3], other=["x"], at=at)
    (table,) = read_rows([str(old), str(new)], arrow_schema(TYPES))
    assert table.schema == arrow_schema(TYPES)
    assert table.select(["id", "tip"]).to_pylist() == [{"id": 1, "tip": None}, {"id": 2, "tip": 3.0}]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet", id=list(range(10_000)), at=[datetime(2024, 1, 1, tzinfo=UTC)] * 10_000
    )
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"a\.parquet: is damaged"):
        list(read_rows([str(path)], arrow_schema(TYPES)))
    path.write_bytes(bytes(content[:500]))
    with pytest.raises(InputError, match=r"a\.parquet: is damaged"):
        event_files(tmp_path, (), TYPES, SCHEMA, None)


def test_days_that_no_window_reaches_are_not_read(tmp_path: Path) -> None:
    at = pa.array([0], pa.timestamp("us", "UTC"))
    days = ("2024-01-01", "2024-01-02", "2024-01-03")
    files = [write(tmp_path / f"day={day}" / "part-0.parquet", id=[1], at=at) for day in days]
    since = datetime(2024, 1, 2, 23, tzinfo=UTC)
    assert event_files(tmp_path, days, TYPES, SCHEMA, since) == files[1:]
    assert event_files(tmp_path, days, TYPES, SCHEMA, None) == files


def test_what_is_not_of_the_table_is_passed_over(tmp_path: Path) -> None:
    file = write(tmp_path / "day=none" / "part-0.parquet", id=[1])
    write(tmp_path / ".tmp-days" / "part-0.parquet", id=[1])
    write(tmp_path / "_seen.parquet", id=[1])
    assert table_files(tmp_path) == [file]
    with pytest.raises(InputError, match="has no files"):
        table_files(tmp_path / "day=other")


@pytest.mark.parametrize("ids", [[3, 1], ["3", "1"], ["3", "1", "x", "1.0", "99999999999999999999"]])
def test_labels_find_their_events_whatever_the_others_are_called(
    tmp_path: Path, ids: list[int | str]
) -> None:
    file = write(tmp_path / "labels.parquet", id=ids, fraud=[True, False, True, True, True][: len(ids)])
    (labels,) = read_rows([str(file)], pa.schema([("id", pa.int64()), ("fraud", pa.bool_())]))
    events = pa.table({"id": [1, 2, 3, 4], "fraud": pa.array([None, True, False, None])})
    assert with_labels(events, labels, "id", "fraud")["fraud"].to_pylist() == [False, True, True, None]
