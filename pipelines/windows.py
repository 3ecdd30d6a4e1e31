"""Rolling aggregates of whole columns at once, each in time n log n however many events a window holds.

Events lie in order of (key, time, id); there a window is a stretch from `begin` up to `end`. What can be totalled is
the difference of two running totals, exactly as online; the rest has a way of its own below.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["Floats", "Ints", "Timeline", "distinct", "extreme", "running"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_LARGEST = 2**62


class Timeline:
    """Events in order of (key, time, id), and where in it windows begin and end.

    Args:
        keys: the key of each event [n], coded 0 … number of keys − 1.
        times: event times [n] in microseconds.
        ids: their ids [n], all whole numbers or all text.

    Attributes:
        order: the events' places, in the order [n].
        keys, times: of the events, in the order [n].
    """

    def __init__(self, keys: Ints, times: Ints, ids: pa.ChunkedArray) -> None:
        first, number_of_keys = int(times.min(initial=_LARGEST)), int(keys.max(initial=0)) + 1
        since_first, span = times - first, int(times.max(initial=first)) - first + 1
        self._moments: Ints | None = None
        if number_of_keys * span >= _LARGEST:
            # Key and time do not fit into one whole number: count moments instead of microseconds.
            self._moments, since_first = np.unique(times, return_inverse=True)
            span = len(self._moments)
        together = keys * span + since_first
        self.order = np.argsort(together)
        self._together = together[self.order]
        self._since_first = since_first[self.order]
        self._settle_ties(ids)
        self.keys, self.times = keys[self.order], times[self.order]
        self._borders: dict[int, Ints] = {}

    def _settle_ties(self, ids: pa.ChunkedArray) -> None:
        """Put events with equal key and time in the order of their ids: numbers by value, text bytewise."""
        tied = np.zeros(len(self.order), bool)
        tied[1:] = self._together[1:] == self._together[:-1]
        tied[:-1] |= tied[1:]
        if tied.any():
            rows = self.order[tied]
            moments = pa.table({"moment": self._together[tied], "id": ids.take(pa.array(rows))})
            by_id = pc.sort_indices(moments, [("moment", "ascending"), ("id", "ascending")])
            self.order[tied] = rows[by_id.to_numpy()]

    def first_after(self, microseconds_ago: int) -> Ints:
        """Where in the order each event's key has its first event later than so long ago [n]."""
        if microseconds_ago not in self._borders:
            if self._moments is None:
                earlier = np.maximum(self._since_first - microseconds_ago, -1)
            else:
                earlier = np.searchsorted(self._moments, self.times - microseconds_ago, side="right") - 1
            self._borders[microseconds_ago] = np.searchsorted(
                self._together, self._together - (self._since_first - earlier), side="right"
            )
        return self._borders[microseconds_ago]


def running(values: Ints | NDArray[np.bool_]) -> Ints:
    """Running totals [n + 1]: before the first event, before the second, …, after the last."""
    totals = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=totals[1:])
    return totals


def extreme(values: Ints, begin: Ints, end: Ints, pick: np.ufunc) -> Ints:
    """The least or largest of values[begin:end] for each window [n]; anything where it is empty.

    Args:
        pick: `np.minimum` or `np.maximum`.

    A window is two overlapping stretches whose length is a power of two; the stretches of each length are made from
    those of half the length (a sparse table, one row at a time: memory stays proportional to n).
    """
    result = np.zeros(len(begin), np.int64)
    level = np.frexp((end - begin).astype(np.float64))[1] - 1
    stretches = values
    for power in range(int(level.max(initial=-1)) + 1):
        if power:
            half = 1 << power - 1
            stretches = pick(stretches[:-half], stretches[half:])
        rows = np.flatnonzero(level == power)
        result[rows] = pick(stretches[begin[rows]], stretches[end[rows] - (1 << power)])
    return result


def distinct(keys_and_values: Ints, times: Ints, window_us: int, begin: Ints, end: Ints) -> Ints:
    """How many different values lie in each window [n].

    Args:
        keys_and_values: equal where key and value are, for each event [m] in the order of (key, time, id).
        times: their times [m] in microseconds.

    A value that comes again within a window's length stays present from its first event until a length after its
    last. So the values present are the stays that have begun less those that are over, two running totals.
    """
    order = np.argsort(keys_and_values, kind="stable")
    same = keys_and_values[order][1:] == keys_and_values[order][:-1]
    stays = same & (np.diff(times[order]) < window_us)
    first, last = np.ones(len(times), bool), np.ones(len(times), bool)
    first[order[1:]] = ~stays
    last[order[:-1]] = ~stays
    result: Ints = running(first)[end] - running(last)[begin]
    return result
