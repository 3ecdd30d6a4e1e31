"""Ids and times as bytes that sort as they do, also inside a longer key.

A whole number is 8 bytes, a text is UTF-8 with 0x00 written as 0x00 0xFF and ended by 0x00 0x00.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

__all__ = [
    "MAX_ID_BYTES",
    "TIME_BYTES",
    "decode_id",
    "decode_time",
    "digest_of",
    "encode_id",
    "encode_time",
    "encode_value",
    "id_length",
    "up_to",
    "up_to_time",
]

MAX_ID_BYTES = 240
"""Of an encoded id: two of them and a time fit into LMDB's longest key, 511 bytes."""

TIME_BYTES = 8
"""Of an encoded time."""

_OFFSET = 1 << 63
_big_endian = struct.Struct(">Q").pack
_DIGEST_BYTES = 16
_DIGEST = 3


def encode_id(value: int | str | None) -> bytes:
    """An id as bytes that sort as the ids do: whole numbers by value, text bytewise; no two start alike.

    Raises:
        OverflowError: a number beyond 64 bits.
        UnicodeEncodeError: a text with half a surrogate pair.
    """
    if isinstance(value, int):
        return b"\x01" + (value + _OFFSET).to_bytes(8, "big")
    if value is None:
        return b"\x00"
    return b"\x02" + value.encode().replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def decode_id(data: bytes) -> int | str | None:
    """The id that was encoded."""
    if data[0] == 1:
        return int.from_bytes(data[1:], "big") - _OFFSET
    return data[1:-2].replace(b"\x00\xff", b"\x00").decode() if data[0] == 2 else None


def id_length(data: bytes, start: int = 0) -> int:
    """Of the encoded id, or value, that begins at `start` of a longer key."""
    kind = data[start]
    if kind == 2:
        return data.index(b"\x00\x00", start + 1) + 2 - start
    return {1: 9, _DIGEST: 1 + _DIGEST_BYTES}.get(kind, 1)


def encode_value(value: int | str) -> bytes:
    """A value to be told from others, at most 17 bytes: as an id, or, if that is longer, its digest."""
    encoded = encode_id(value)
    return encoded if len(encoded) <= _DIGEST_BYTES else bytes((_DIGEST,)) + digest_of(encoded)


def digest_of(data: bytes) -> bytes:
    """16 bytes that no two of all data share."""
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()


def encode_time(time_us: int) -> bytes:
    """A time in microseconds as 8 bytes that sort as times do; what lies before them all is clamped."""
    shifted = time_us + _OFFSET
    return _big_endian(shifted if shifted > 0 else 0)


def decode_time(data: bytes) -> int:
    """The time in microseconds that the first 8 bytes are."""
    return int.from_bytes(data[:8], "big") - _OFFSET


def up_to_time(time_us: int) -> bytes:
    """The bound behind all events at or before a time."""
    return encode_time(time_us + 1)


def up_to(time_us: int, event_id: bytes, *, inclusive: bool) -> bytes:
    """The bound behind, or right before, an event."""
    return encode_time(time_us) + event_id + (b"\x00" if inclusive else b"")
