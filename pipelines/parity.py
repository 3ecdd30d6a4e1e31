"""Do the features that were served agree with those that Spark computes for the same events?

A `Value` feature is a column of the event, and both sides have the event as it was served: those agree by
construction. What is proven is every aggregate, calendar flag and ratio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def compare(served: Path, features: Path, names: Mapping[str, Sequence[str]], id_column: str) -> ParityResult:
    """Compare, by event, each served feature with the computed one, exactly.

    Args:
        served: the table of served events, each event once, with the digest of the `bundle` that answered.
        features: the feature table.
        names: the features of each bundle, by its digest.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    rows = _open(served, [id_column, "bundle"]).to_table()
    every = list(dict.fromkeys(name for d in pc.unique(rows["bundle"]).to_pylist() for name in names[d]))
    source = _open(features, [id_column, *every])
    _require(served, rows.schema.names, every)
    ids = rows[id_column].cast(pa.string()).combine_chunks()
    compared, found = 0, []
    for batch in source.to_batches(columns=[id_column, *every]):
        places = pc.index_in(batch[id_column].cast(pa.string()), value_set=ids)
        both = batch.filter(places.is_valid())
        matched = rows.take(places.drop_null())
        compared += len(matched)
        for digest in pc.unique(matched["bundle"]).to_pylist():
            own = pc.equal(matched["bundle"], digest).combine_chunks()
            left, right = matched.filter(own), both.filter(own)
            for name in names[digest]:
                found += _differences(left[id_column], name, _floats(left[name]), _floats(right[name]))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return ParityResult(
        events=len(rows),
        compared=compared,
        max_abs_diff=math.inf if not compared or compared != len(rows) else found[0][0] if found else 0.0,
        differences=len(found),
        differing=tuple(difference for _, difference in found[:_WORST]),
    )


def _open(folder: Path, columns: Sequence[str]) -> ds.Dataset:
    if not folder.is_dir():
        raise InputError("no such table", where=folder)
    table = ds.dataset(folder, format="parquet")
    _require(folder, table.schema.names, columns)
    return table


def _require(folder: Path, held: Sequence[str], columns: Sequence[str]) -> None:
    if missing := set(columns) - set(held):
        raise InputError(f"no column {', '.join(sorted(missing))}", where=folder)


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
