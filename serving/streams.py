"""What an event is in a stream, and how that stands in the tables."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import msgspec

from mlops.features import Where
from serving.codes import encode_value
from serving.entries import Cell, fulfils
from serving.plan import Coded, Number, StorePlan
from serving.spans import Fold

__all__ = ["Extremes", "Row", "StreamLayout"]

Extremes = tuple[int, ...]
"""The least value of each ranged column and the least complement of one, ~v, in turn; `_NONE` twice for no value."""

_NONE = 2**63 - 1
_LABEL = -1


class Row(msgspec.Struct, frozen=True):
    """An event in a stream: what it adds to the totals, what is kept with it, and the values that are told apart."""

    amounts: tuple[int, ...]
    kept: tuple[int | None, ...] = ()
    codes: tuple[bytes | None, ...] = ()


class StreamLayout:
    """How one stream of a plan reads entries, and writes totals and kept values.

    Totals wrap around at 64 bits, so that the difference of two of them is right as long as a window's sum fits.
    """

    def __init__(self, plan: StorePlan, number: int) -> None:
        stream = plan.streams[number]
        cells = {cell: place for place, cell in enumerate(plan.cells)}

        def number_of(column: str) -> int:
            if column == plan.label:
                return _LABEL
            return cells[Number(column=column, decimals=plan.decimals[column])]

        self.prefix = bytes((number,))
        self.key = plan.keys.index(stream.key)
        self.width = stream.width
        self.series = [(bytes((n,)), series.window_us) for n, series in enumerate(stream.distinct)]
        columns = dict.fromkeys(series.column for series in stream.distinct)
        self.distinct = [
            (bytes((n,)), [place for place, s in enumerate(stream.distinct) if s.column == column])
            for n, column in enumerate(columns)
        ]
        self.spans = bytes((len(self.series),))
        self.ranged = [stream.kept.index(column) for column in stream.ranged]
        self.indexed = bool(self.ranged or self.distinct)
        self.by_label = stream.labelled or plan.label in (
            *stream.columns,
            *((stream.where.column,) if stream.where else ()),
        )
        self._labelled = stream.labelled
        self._where: Where | None = None
        self._condition: int | None = None
        if stream.where and stream.where.column == plan.label:
            self._where = stream.where
        elif stream.where:
            self._condition = cells[stream.where]
        self._sums = [number_of(column) for column in stream.sums]
        self._kept = [number_of(column) for column in stream.kept]
        self._coded = [
            _LABEL if column == plan.label else cells[Coded(column=column, decimals=plan.decimals[column])]
            for column in columns
        ]
        self._scale = 10 ** plan.decimals.get(plan.label, 0)
        self._totals = struct.Struct(f"<{stream.width}Q")
        self.totals: Callable[[bytes], tuple[int, ...]] = self._totals.unpack_from
        """The totals in an entry's value."""
        self._values = struct.Struct("<" + "?q" * len(stream.kept))
        self.extremes = self._fold()
        self._plain = not (self.by_label or self._kept or self._coded)

    def row(self, cells: Sequence[Cell], label: int | float | None) -> Row | None:
        """The event in this stream, or None if it is not in it."""
        if self._condition is not None and not cells[self._condition]:
            return None
        if self._plain:
            return Row((1, *[cells[place] or 0 for place in self._sums]))  # type: ignore[arg-type]
        if (self._where and not fulfils(self._where, label)) or (self._labelled and not label):
            return None
        scaled = None if label is None else round(label * self._scale)
        numbers = [scaled if place == _LABEL else cells[place] for place in (*self._sums, *self._kept)]
        codes = [
            cells[place] if place != _LABEL else None if scaled is None else encode_value(scaled)
            for place in self._coded
        ]
        size = len(self._sums)
        return Row((1, *[number or 0 for number in numbers[:size]]), tuple(numbers[size:]), tuple(codes))  # type: ignore[arg-type]

    def tail(self, row: Row) -> bytes:
        """What stands behind the totals."""
        if not row.kept:
            return b""
        return self._values.pack(*[part for v in row.kept for part in (v is not None, v or 0)])

    def pack(self, totals: Sequence[int]) -> bytes:
        """Totals as an entry's value begins with them."""
        return self._totals.pack(*totals)

    def tail_of(self, value: bytes) -> bytes:
        """What stands behind the totals in an entry's value."""
        return value[self._totals.size :]

    def kept(self, value: bytes) -> tuple[int | None, ...]:
        """The values kept in an entry's value."""
        parts = self._values.unpack_from(value, self._totals.size)
        return tuple([v if there else None for there, v in zip(parts[::2], parts[1::2], strict=True)])

    def extremes_of(self, row: Row) -> Extremes:
        """The ranged values of a row."""
        return _extremes([row.kept[place] for place in self.ranged])

    def shown(self, fold: Extremes) -> tuple[int | None, ...]:
        """Least and largest value of each ranged column, in turn."""
        pairs = zip(fold[::2], fold[1::2], strict=True)
        return tuple([v for a, b in pairs for v in ((None, None) if a == b == _NONE else (a, ~b))])

    def _fold(self) -> Fold[Extremes]:
        places, size = self.ranged, self._totals.size
        values, packed = self._values, struct.Struct("<" + "qq" * len(self.ranged))

        def read(value: bytes) -> Extremes:
            parts = values.unpack_from(value, size)
            return _extremes([parts[2 * place + 1] if parts[2 * place] else None for place in places])

        return Fold(
            bits=2,
            zero=(_NONE,) * (2 * len(places)),
            read=read,
            join=lambda one, other: tuple(map(min, one, other)),
            pack=lambda fold: packed.pack(*fold),
            unpack=packed.unpack,
        )


def _extremes(values: Sequence[int | None]) -> Extremes:
    return tuple([part for v in values for part in ((_NONE, _NONE) if v is None else (v, ~v))])
