"""Rows of some days of a table of Parquet files, read without ever holding more than a little of them twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlops.errors import InputError

__all__ = ["Stretch", "TableReader"]

_BATCH_ROWS = 16_384  # few enough for a core's cache, once they are float32
_BUFFER_BYTES = 1 << 18  # of each column; without one, a whole row group is read before its first row is seen


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """The rows with start ≤ time < end whose `present` column is not null, and the row groups that may hold such."""

    start: datetime
    end: datetime
    present: str
    groups: dict[Path, tuple[int, ...]]


class TableReader:
    """A table's files, and the times that each of their row groups holds, as far as the files say so."""

    def __init__(self, source: ds.Dataset, time: str) -> None:
        self._time = time
        self._groups: list[tuple[Path, int, datetime | None, datetime | None]] = []
        for fragment in source.get_fragments():
            footer = fragment.metadata
            column = footer.schema.to_arrow_schema().get_field_index(time)
            for group in range(footer.num_row_groups):
                known = footer.row_group(group).column(column).statistics
                ends = (known.min, known.max) if known and known.has_min_max else (None, None)
                self._groups.append((Path(fragment.path), group, *ends))

    def stretch(self, start: datetime, end: datetime, *, present: str) -> Stretch:
        """The rows from `start` to before `end` that have a value in the column `present`."""
        groups: dict[Path, tuple[int, ...]] = {}
        for path, group, first, last in self._groups:
            if first is None or last is None or (last >= start and first < end):
                groups[path] = (*groups.get(path, ()), group)
        return Stretch(start=start, end=end, present=present, groups=groups)

    def read(self, stretch: Stretch, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Its rows in the order of the files, some at a time.

        Raises:
            InputError: a file is not there any more.
        """
        wanted = list(dict.fromkeys([*columns, self._time, stretch.present]))
        for path, groups in stretch.groups.items():
            with _opened(path) as file:
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=list(groups), columns=wanted):
                    rows = pa.Table.from_batches([batch])
                    time = rows[self._time]
                    start, end = (pa.scalar(at, time.type) for at in (stretch.start, stretch.end))
                    inside = pc.and_(pc.greater_equal(time, start), pc.less(time, end))
                    chosen = pc.and_(inside, rows[stretch.present].is_valid())
                    found = rows if pc.all(chosen).as_py() else rows.filter(chosen)
                    if found.num_rows:
                        yield found


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except FileNotFoundError:
        raise InputError("has changed while it was read", where=path.parent, todo="train again") from None
