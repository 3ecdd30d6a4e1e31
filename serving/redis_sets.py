"""Sorted sets that hold keys and values: what a member is, the end of one as it was read, and what is to be written.

All scores are 0, so that Redis orders the members bytewise. A member is a key, escaped as texts are in `serving.codes`,
so that no two begin alike, and its value.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

__all__ = ["PAGE", "Item", "Tail", "Written", "after", "ended", "escaped", "parted"]

PAGE = 256
"""How many members the end of a set has that is read at once."""

Item = tuple[bytes, bytes]


def escaped(key: bytes) -> bytes:
    """How the members begin whose keys begin with `key`."""
    return key.replace(b"\x00", b"\x00\xff")


def ended(key: bytes) -> bytes:
    """How the member begins whose key is `key`: it sorts before all that sort after, and no other begins so."""
    return key.replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def parted(member: bytes) -> Item:
    """A member's key and value."""
    end = member.index(b"\x00\x00")
    return member[:end].replace(b"\x00\xff", b"\x00"), member[end + 2 :]


def after(prefix: bytes) -> bytes:
    """The least bytes behind all that begin with `prefix`; nothing if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b""


class Tail:
    """The last members of a set; all of them if they are fewer than `PAGE`.

    Args:
        members: the last one first.
    """

    def __init__(self, members: Sequence[bytes]) -> None:
        self._members = members[::-1]
        self._whole = len(members) < PAGE

    def back(self, start: bytes, end: bytes, limit: int) -> list[Item] | None:
        """The last ones from `start` until `end`, the last one first; None if they may lie further ahead."""
        low, high = bisect_left(self._members, ended(start)), bisect_left(self._members, ended(end))
        if not (self._whole or low or high - low >= limit):
            return None
        return [parted(member) for member in self._members[max(low, high - limit) : high][::-1]]

    def onward(self, start: bytes, end: bytes, limit: int | None) -> list[Item] | None:
        """The first ones from `start` until `end`, or without end; None if they may lie further ahead."""
        low = bisect_left(self._members, ended(start))
        if not (self._whole or low):
            return None
        high = bisect_left(self._members, ended(end)) if end else len(self._members)
        return [parted(member) for member in self._members[low:high][:limit]]


class Written:
    """What is to be written into a set, by key; None is deleted."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes | None] = {}
        self._order: list[bytes] = []

    def set(self, key: bytes, value: bytes | None) -> None:
        """Write a value, or delete it."""
        if key not in self._values:
            insort(self._order, key)
        self._values[key] = value

    def over(self, stored: list[Item], start: bytes, end: bytes) -> list[Item]:
        """What is stored from `start` until `end`, or without end, with what is written there: in order."""
        low = bisect_left(self._order, start)
        high = bisect_left(self._order, end) if end else len(self._order)
        merged: dict[bytes, bytes | None] = dict(stored)
        merged.update({key: self._values[key] for key in self._order[low:high]})
        return sorted((key, value) for key, value in merged.items() if value is not None)

    def changes(self) -> tuple[list[Item], list[bytes]]:
        """The spans of members to remove, and the members to add."""
        starts = [(key, ended(key)) for key in self._order]
        spans = [(start, start[:-1] + b"\x01") for _, start in starts]
        return spans, [start + value for key, start in starts if (value := self._values[key]) is not None]
