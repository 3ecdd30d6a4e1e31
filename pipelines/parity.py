"""Do the features that were served agree with those that Spark computes for the same events?

A `Value` feature is a column of the event, and both sides have the event as it was served: those agree by
construction. What is proven is every aggregate, calendar flag and ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mlops.errors import InputError

__all__ = ["Difference", "ParityResult", "compare"]

_WORST = 10


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of one event that differs; a value that is missing on one side only differs infinitely."""

    event_id: int | str
    feature: str
    served: float
    computed: float


class ParityResult(msgspec.Struct, frozen=True, kw_only=True):
    """Of `events` served `compared` are in the feature table; `differing` holds the worst of `differences`.

    `max_abs_diff` is infinite, too, if an event that was served is not in the feature table, or none was served:
    what was not compared does not agree.
    """

    events: int
    compared: int
    max_abs_diff: float
    differences: int
    differing: tuple[Difference, ...]


def compare(served: Path, features: Path, names: Sequence[str], id_column: str) -> ParityResult:
    """Compare, by event, each served feature with the computed one, exactly.

    Args:
        served: the table of served events, each event once.
        features: the feature table.
        names: the features to compare.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    columns = [id_column, *names]
    left = _open(served, columns).to_table(columns=columns)
    left_ids = left[id_column].cast(pa.string()).combine_chunks()
    compared, found = 0, []
    for batch in _open(features, columns).to_batches(columns=columns):
        places = pc.index_in(batch[id_column].cast(pa.string()), value_set=left_ids)
        both = batch.filter(places.is_valid())
        rows = left.take(places.drop_null())
        compared += len(rows)
        for name in names:
            found += _differences(rows[id_column], name, _floats(rows[name]), _floats(both[name]))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return ParityResult(
        events=len(left),
        compared=compared,
        max_abs_diff=math.inf if not compared or compared != len(left) else found[0][0] if found else 0.0,
        differences=len(found),
        differing=tuple(difference for _, difference in found[:_WORST]),
    )


def _open(folder: Path, columns: Sequence[str]) -> ds.Dataset:
    if not folder.is_dir():
        raise InputError("no such table", where=folder)
    table = ds.dataset(folder, format="parquet")
    if missing := set(columns) - set(table.schema.names):
        raise InputError(f"no column {', '.join(sorted(missing))}", where=folder)
    return table


def _floats(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """As doubles, missing values as NaN."""
    numbers = column.cast(pa.int64()) if pa.types.is_boolean(column.type) else column
    return np.asarray(numbers.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _differences(
    ids: pa.ChunkedArray, name: str, served: NDArray[np.float64], computed: NDArray[np.float64]
) -> list[tuple[float, Difference]]:
    unequal = np.flatnonzero((served != computed) & ~(np.isnan(served) & np.isnan(computed)))
    size = np.abs(served - computed)
    size[np.isnan(size)] = np.inf
    return [
        (
            float(size[i]),
            Difference(
                event_id=ids[int(i)].as_py(),
                feature=name,
                served=float(served[i]),
                computed=float(computed[i]),
            ),
        )
        for i in unequal
    ]
