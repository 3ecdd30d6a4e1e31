"""What a table by day says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import InputError
from mlops.tables import Batch, Part, read_batches, total_fingerprint, write_batches


def part(number: int, rows: int = 1) -> Part:
    return Part(rows=rows, fingerprint=f"{number:032x}")


def test_a_tables_fingerprint_is_the_sum_of_its_days() -> None:
    high = Part(rows=1, fingerprint="f" * 32)
    assert total_fingerprint({"a": part(1), "b": part(2)}) == f"{3:032x}"
    assert total_fingerprint({"b": part(2), "a": high}) == f"{1:032x}"
    assert total_fingerprint({}) == "0" * 32


def test_batches_are_read_as_they_were_written(tmp_path: Path) -> None:
    batch = Batch(
        id="b",
        files={"digest": "1.csv"},
        rows_in=3,
        good=1,
        quarantined=1,
        duplicates=1,
        labels=0,
        taken_at="2024-03-01T00:00:00+00:00",
    )
    write_batches(tmp_path, (batch, batch))
    assert read_batches(tmp_path) == (batch, batch)
    with pytest.raises(InputError, match="no such file"):
        read_batches(tmp_path / "absent")
