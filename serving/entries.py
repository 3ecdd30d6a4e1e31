"""An event as a store takes it: what its plan reads of the event, and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlops.features import Where
from serving.codes import encode_id, encode_value
from serving.plan import Coded, Number, StorePlan

__all__ = ["Entry", "EntryEncoder", "fulfils"]

Cell = int | bytes | None


class Entry(msgspec.Struct, frozen=True):
    """An event as a store takes it.

    Fields:
        id: encoded.
        time_us: event time, microseconds since 1970.
        keys: encoded, one for each of the plan's keys.
        cells: one for each of the plan's: a number in units of 10^-decimals, a value encoded, or 1 or 0 for a
            condition; None where the value is missing.
        label: 1 or 0, or the quantity, or None if not known yet.
    """

    id: bytes
    time_us: int
    keys: tuple[bytes, ...]
    cells: tuple[Cell, ...]
    label: int | float | None = None


class EntryEncoder:
    """Makes entries for stores with one plan."""

    def __init__(self, plan: StorePlan) -> None:
        self._keys = plan.keys
        self._cells = [_cell(cell) for cell in plan.cells]

    def __call__(
        self, event_id: int | str, time_us: int, values: Mapping[str, Any], label: int | float | None = None
    ) -> Entry:
        return Entry(
            encode_id(event_id),
            time_us,
            tuple([encode_id(values[key]) for key in self._keys]),
            tuple([cell(values) for cell in self._cells]),
            label,
        )


def fulfils(where: Where, value: Any) -> bool:
    """Whether a value fulfils a condition; one that is missing does not."""
    if value is None:
        return False
    if where.equals is not None:
        return bool(value == where.equals)
    return (where.minimum is None or value >= where.minimum) and (
        where.maximum is None or value <= where.maximum
    )


def _cell(cell: Number | Coded | Where) -> Callable[[Mapping[str, Any]], Cell]:
    if isinstance(cell, Where):
        return lambda values: int(fulfils(cell, values.get(cell.column)))
    column, scale = cell.column, 10**cell.decimals
    if isinstance(cell, Number):
        return lambda values: None if (value := values.get(column)) is None else round(value * scale)
    return lambda values: None if (value := values.get(column)) is None else _coded(value, scale)


def _coded(value: Any, scale: int) -> bytes:
    return encode_value(value if isinstance(value, str) else round(value * scale))
