"""The tables that a store has, and what stands in those that are read by key alone."""

from __future__ import annotations

import msgspec

from serving.codes import id_length
from serving.entries import Cell

__all__ = [
    "ANSWERS",
    "DELETED",
    "EVENTS",
    "HELD",
    "NOTES",
    "POINTS",
    "SEEN",
    "SPANS",
    "TABLES",
    "TOTALS",
    "UNORDERED",
    "Counted",
    "Held",
    "decode_counted",
    "decode_held",
    "encode",
    "group_of",
    "keys_of",
]

EVENTS, ANSWERS, HELD, NOTES = "events", "answers", "held", "notes"
UNORDERED = (EVENTS, ANSWERS, HELD, NOTES)
"""Tables by id: events counted, answers given, labels that wait for their event; and notes on the whole store."""

DELETED = b"deleted:"
"""What the note on a key that was deleted begins with; a digest of the key follows."""

TOTALS, SPANS, SEEN, POINTS = "totals", "spans", "seen", "points"
TABLES = (*UNORDERED, TOTALS, SPANS, SEEN, POINTS)
"""The others are read in order. Their keys begin with a group: a stream's number and an encoded key."""


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """An event that was counted, as its entry was, and its label by now."""

    time_us: int
    keys: tuple[bytes, ...]
    cells: tuple[Cell, ...]
    label: int | float | None


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A label that came before its event."""

    label: int | float
    known_us: int


encode = msgspec.msgpack.Encoder().encode
decode_counted = msgspec.msgpack.Decoder(Counted).decode
decode_held = msgspec.msgpack.Decoder(Held).decode


def group_of(key: bytes) -> bytes:
    """What a key of an ordered table begins with."""
    return key[: 1 + id_length(key, 1)]


def keys_of(event: bytes) -> tuple[bytes, ...]:
    """The encoded keys of an event, from what stands of it in the table of events."""
    return decode_counted(event).keys
