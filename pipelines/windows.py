"""Rolling aggregates of whole columns at once: running totals per key, and two look-ups a window.

The same method as the online store's, so that both subtract and divide the same integers. It takes time
proportional to n log n, however many events a window holds; a window frame that is summed anew for each row does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlops.features import Agg, Aggregate, Count, Rate, Sum

__all__ = ["Total", "key_codes", "rolling_aggregates", "total_of"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Total(NamedTuple):
    """What is totalled: a column's scaled values, or, if `ones`, how often it is 1."""

    column: str
    ones: bool = False


def total_of(agg: Agg) -> Total | None:
    """The total behind an aggregate, None behind a count."""
    return None if isinstance(agg, Count) else Total(agg.column, isinstance(agg, Rate))


def key_codes(keys: pa.Array | pa.ChunkedArray) -> Ints:
    """Whole numbers [n] from 0 that are equal where the keys are; a missing key equals other missing keys."""
    chunks = pa.chunked_array([keys]) if isinstance(keys, pa.Array) else keys
    encoded = chunks.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(len(encoded.dictionary)), dtype=np.int64)


def rolling_aggregates(
    aggregates: Sequence[Aggregate],
    keys: Ints,
    times: Ints,
    values: Mapping[Total, Ints],
    decimals: Mapping[str, int],
) -> dict[str, Floats]:
    """The aggregates of each event over the events with its key.

    Args:
        aggregates: of one key column.
        keys: the key of each event [n], coded 0 … number of keys − 1.
        times: event times [n] in microseconds; events must be sorted by (event time, id).
        values: the whole numbers [n] to sum for each total: scaled, or 1 where the column is 1.
        decimals: the digits after the point of each column that is summed.

    Returns:
        one array [n] an aggregate, by name.
    """
    n = len(times)
    by_key = np.argsort(keys, kind="stable")  # within a key still by (event time, id)
    place = np.arange(n)
    key_and_place = (
        keys[by_key] * n + by_key
    )  # ascending, so a binary search finds a key's first event after a place
    sorted_times = times[by_key]

    def first_after(microseconds_ago: int) -> Ints:
        """Where, in the order by key, each event's key has its first event later than so long ago."""
        places = np.searchsorted(times, sorted_times - microseconds_ago, side="right")
        return np.searchsorted(key_and_place, keys[by_key] * n + places)

    totals = {total: np.concatenate([[0], np.cumsum(column[by_key])]) for total, column in values.items()}
    borders: dict[int, Ints] = {}
    result: dict[str, Floats] = {}
    for a in aggregates:
        for ago in (a.delay_us, a.delay_us + a.window_us):
            if ago and ago not in borders:
                borders[ago] = first_after(ago)
        begin = borders[a.delay_us + a.window_us]
        end = borders[a.delay_us] if a.delay_us else place + a.include_current
        count = end - begin
        total = total_of(a.agg)
        if total is None:
            value = count.astype(np.float64)
        else:
            value = (totals[total][end] - totals[total][begin]).astype(np.float64)
            if not isinstance(a.agg, Sum):
                value /= np.maximum(count, 1)
            if not total.ones:
                value /= 10.0 ** decimals[total.column]
            value[count == 0] = a.fallback
        result[a.name] = np.empty(n)
        result[a.name][by_key] = value
    return result
