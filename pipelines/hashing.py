"""Hashes of whole columns and tables in memory: to deal rows out by key, and to say what a table holds.

They are the same in every process and on every machine, and are not made to withstand anybody who seeks collisions.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["column_hashes", "table_fingerprint"]

Hashes = NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
_INVERSE = pow(_BASE, -1, 1 << 64)
_NULL = np.uint64(0xD6E8FEB86659FD93)
# The finaliser of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def column_hashes(column: pa.ChunkedArray) -> Hashes:
    """A hash of each value [n], of numbers, booleans, times or text."""
    return _mix(_bits(column))


def table_fingerprint(table: pa.Table) -> str:
    """32 hexadecimal digits of what a table holds, whatever the order of its rows.

    Fingerprints of the parts of a table add up to its own. Columns count in their order, whatever their names.
    """
    rows = np.full(table.num_rows, _NULL)  # not of zeros, or a row of zeros would add nothing to the sum
    for column in table.columns:
        rows = (rows ^ _bits(column)) * np.uint64(_BASE)
        rows ^= rows >> np.uint64(32)
    rows = _mix(rows)
    high, low = int((rows >> np.uint64(32)).sum()), int((rows & np.uint64(0xFFFFFFFF)).sum())
    return f"{(high << 32) + low:032x}"


def _bits(column: pa.ChunkedArray) -> Hashes:
    """64 bits that are equal where values are."""
    values = column.combine_chunks()
    type_ = values.type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        bits = _text(values.cast(pa.string()))
    elif pa.types.is_floating(type_):
        bits = values.fill_null(0.0).to_numpy().view(np.uint64)
    else:
        numbers = values.cast(pa.int8()) if pa.types.is_boolean(type_) else values
        bits = numbers.cast(pa.int64()).fill_null(0).to_numpy().view(np.uint64)
    if values.null_count:
        bits = np.where(values.is_null().to_numpy(zero_copy_only=False), _NULL, bits)
    return bits


def _mix(bits: Hashes) -> Hashes:
    for shift, factor in _MIX:
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def _text(values: pa.StringArray) -> Hashes:
    """A polynomial in the bytes of each text, from running totals over the bytes of all; modulo 2^64."""
    _, offsets, data = values.buffers()
    if not len(values) or data is None:
        return np.zeros(len(values), np.uint64)
    borders = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    bytes_ = np.frombuffer(data, np.uint8)[borders[0] : borders[-1]]
    borders = borders - borders[0]
    totals = np.zeros(len(bytes_) + 1, np.uint64)
    np.cumsum((bytes_ + np.uint64(1)) * _powers(_BASE, len(bytes_)), out=totals[1:])
    begin, end = borders[:-1], borders[1:]
    return (totals[end] - totals[begin]) * _powers(_INVERSE, len(totals))[begin] + (end - begin).astype(
        np.uint64
    )


def _powers(base: int, number: int) -> Hashes:
    powers = np.full(number, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, out=powers)
