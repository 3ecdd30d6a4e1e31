"""How many different values the events of a window have, for windows of one length that end anywhere.

A value is in the window from an event with it until the window's length later, or until the same after the next one,
if that comes before: a session. The values in a window that ends at some place are the sessions that have started, less
those that have ended, up to there. Starts and ends are points in a sequence, and `serving.spans` adds them up.

An event changes at most three points of a series, wherever it falls: its value's last session is prolonged, a new one
starts, or two become one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from serving.codes import TIME_BYTES, decode_time, encode_time, id_length
from serving.spans import Fold, SpanIndex
from serving.store import OrderedTables
from serving.tables import POINTS, SEEN

__all__ = ["Sessions", "ValueSessions"]

_START, _END = 1, -1
_weight = struct.Struct("<q")
_sum: Fold[int] = Fold(
    bits=3,
    zero=0,
    read=lambda value: int(_weight.unpack(value)[0]),
    join=lambda one, other: one + other,
    part=lambda whole, one: whole - one,
    pack=_weight.pack,
    unpack=lambda value: int(_weight.unpack(value)[0]),
)


class Sessions:
    """The sessions of one series, of all values together, in one stream and key.

    Args:
        series: the stream's number, the key, and the series' number.
    """

    def __init__(self, tables: OrderedTables, series: bytes, window_us: int) -> None:
        self._tables = tables
        self._series = series
        self._window_us = window_us
        self._index = SpanIndex(tables, POINTS, series, series, _sum)

    def count(self, bound: bytes) -> int:
        """Different values in the window that ends right before `bound`."""
        return self._index.total(bound)

    def part(self, before: bytes | None, place: bytes, after: bytes | None) -> None:
        """An event with a value comes between two with the same value, if there are such."""
        self._change(self._between(before, after), self._apart(before, place, after))

    def join(self, before: bytes | None, place: bytes, after: bytes | None) -> None:
        """The same goes."""
        self._change(self._apart(before, place, after), self._between(before, after))

    def forget(self, before_us: int, limit: int) -> int:
        """Put one point in the place of those before a time, of 2 to `limit`; return how many those were.

        Counts in windows that end later stay as they are.
        """
        series, cut = self._series, encode_time(before_us)
        found = self._tables.onward(POINTS, series, series, limit + 1)
        old = {key: value for key, value in found[:limit] if key[len(series) :] < cut}
        if not old:
            return 0
        place = min(cut, found[limit][0][len(series) :][:TIME_BYTES]) if len(found) > limit else cut
        standing = self._tables.onward(POINTS, series + place, series, 1)
        old |= {key: value for key, value in standing if key == series + place}
        for key in old:
            self._tables.delete(POINTS, key)
        while self._index.forget(place, limit):
            pass
        weight = sum(_sum.read(value) for value in old.values())
        if weight:
            self._tables.put(POINTS, [(series + place, _weight.pack(weight))])
        self._index.replace(place)
        return len(old)

    def _apart(self, before: bytes | None, place: bytes, after: bytes | None) -> dict[bytes, int]:
        return self._between(before, place) | self._between(place, after)

    def _between(self, one: bytes | None, other: bytes | None) -> dict[bytes, int]:
        """The points between two events with a value of which none is between them."""
        points = {}
        if one:
            end = decode_time(one) + self._window_us
            if other and decode_time(other) < end:
                return {}
            points[encode_time(end) + b"\x00" + one[TIME_BYTES:]] = _END  # ahead of all events of that time
        if other:
            points[other] = _START
        return points

    def _change(self, old: dict[bytes, int], new: dict[bytes, int]) -> None:
        for point in sorted(old.keys() - new.keys()):
            self._tables.delete(POINTS, self._series + point)
            self._index.remove(point, old[point])
        for point in sorted(new.keys() - old.keys()):
            self._tables.put(POINTS, [(self._series + point, _weight.pack(new[point]))])
            self._index.insert(point, new[point])


class ValueSessions:
    """Where a column's values were seen in one stream and key, and the series that follow from it.

    Args:
        column: the stream's number, the key, and the column's number.
        series: each window's sessions.
    """

    def __init__(self, tables: OrderedTables, column: bytes, series: Sequence[Sessions]) -> None:
        self._tables = tables
        self._seen = column
        self._series = series

    def insert(self, value: bytes, place: bytes) -> None:
        """Count an event's value. If it is counted already, it is its own next one, and nothing changes."""
        before, after = self._neighbours(value, place, place)
        for sessions in self._series:
            sessions.part(before, place, after)
        self._tables.put(SEEN, [(self._seen + value + place, b"")])

    def remove(self, value: bytes, place: bytes) -> None:
        """Take back what `insert` did."""
        before, after = self._neighbours(value, place, place + b"\x00")
        for sessions in self._series:
            sessions.join(before, place, after)
        self._tables.delete(SEEN, self._seen + value + place)

    def forget(self, before_us: int, window_us: int, bound: bytes, limit: int) -> tuple[bytes | None, int]:
        """Remove where values were seen before a time, but for the last place of each that still matters then.

        Args:
            window_us: the longest of the series.
            bound: where to begin; nothing at first.
            limit: how many to look at.

        Returns:
            where to go on, or None, and how many were removed.
        """
        prefix, cut = self._seen, encode_time(before_us)
        found = self._tables.onward(SEEN, prefix + bound, prefix, limit + 1)
        places = [key[len(prefix) :] for key, _ in found]
        removed = 0
        for seen, after in zip(places[:limit], [*places[1:], b""], strict=False):
            value, place = seen[: id_length(seen)], seen[id_length(seen) :]
            again = after.startswith(value) and after[len(value) :] < cut
            if place < cut and (again or decode_time(place) + window_us <= before_us):
                self._tables.delete(SEEN, prefix + seen)
                removed += 1
        return places[limit] if len(places) > limit else None, removed

    def _neighbours(self, value: bytes, high: bytes, low: bytes) -> tuple[bytes | None, bytes | None]:
        """The value's last event before the place `high`, and its first one from `low` on."""
        prefix = self._seen + value
        before = self._tables.back(SEEN, prefix + high, prefix, 1)
        after = self._tables.onward(SEEN, prefix + low, prefix, 1)
        size = len(prefix)
        return before[0][0][size:] if before else None, after[0][0][size:] if after else None
