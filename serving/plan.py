"""Which running totals an online store keeps, and how an event is written into it.

A stream holds, per key, the running totals of that key's events in the order of (event time, id). Event streams
total a count and sums; label streams total the events known to be positive. A window is then the difference of two
totals, whatever its size.

Bytes keep the order of what they encode, also inside a longer key: a whole number is 8 bytes, a text is UTF-8 with
0x00 written as 0x00 0xFF and ended by 0x00 0x00.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from mlops.bundle import Schema
from mlops.errors import BundleError, ConfigError
from mlops.features import Count, FeatureSet, Rate

__all__ = [
    "MAX_ID_BYTES",
    "Entry",
    "EntryEncoder",
    "StorePlan",
    "Stream",
    "Summed",
    "encode_id",
    "encode_time",
]

MAX_ID_BYTES = 240
"""Of an encoded id: two of them and a time fit into LMDB's longest key, 511 bytes."""

_OFFSET = 1 << 63
_KEY_TYPES = ("id", "text", "integer", "boolean")


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


def encode_time(time_us: int) -> bytes:
    """A time in microseconds as 8 bytes that sort as times do; what lies before them all is clamped."""
    return max(0, time_us + _OFFSET).to_bytes(8, "big")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Summed(_Part, frozen=True, kw_only=True):
    """A column that is totalled: its value in units of 10^-decimals, or, if `ones`, how often it is 1."""

    column: str
    decimals: int = 0
    ones: bool = False

    def __str__(self) -> str:
        return f"{'ones' if self.ones else 'sum'} of {self.column}"


class Stream(_Part, frozen=True, kw_only=True):
    """Totals per value of the column `key`: count, then `sums`; or, if `labels`, the positives only."""

    key: str
    labels: bool = False
    sums: tuple[Summed, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a total of this stream has."""
        return 1 + len(self.sums)

    def names(self) -> list[str]:
        """What it totals, in words."""
        if self.labels:
            return [f"positives by {self.key}"]
        return [f"{what} by {self.key}" for what in ("count", *map(str, self.sums))]


class StorePlan(_Part, frozen=True, kw_only=True):
    """The streams of a store, and what ids look like in it. A stream's number is its place."""

    id: str
    label: str
    whole_number_ids: tuple[str, ...]
    streams: tuple[Stream, ...]
    format: Literal[2] = 2

    @classmethod
    def of(cls, features: FeatureSet, schema: Schema) -> StorePlan:
        """The least plan that `features` can be computed from.

        Raises:
            BundleError: a key is of a type that cannot be one.
        """
        sums: dict[str, list[Summed]] = {}
        labelled: list[str] = []
        for a in features.aggregates:
            column = schema.events.column(a.key)
            if column.type not in _KEY_TYPES:
                raise BundleError(f"{column.type} {a.key} cannot be a key", where=a.name)
            of_key = sums.setdefault(a.key, [])
            if isinstance(a.agg, Count):
                continue
            if a.agg.column == schema.label.column:
                if a.key not in labelled:
                    labelled.append(a.key)
            elif (summed := summed_by(a.agg, schema)) not in of_key:
                of_key.append(summed)
        streams = [Stream(key=key, sums=tuple(columns)) for key, columns in sums.items()]
        streams += [Stream(key=key, labels=True) for key in labelled]
        used = {schema.events.id, *sums}
        return cls(
            id=schema.events.id,
            label=schema.label.column if labelled else "",
            whole_number_ids=tuple(sorted(used & set(schema.whole_number_ids))),
            streams=tuple(streams),
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that are keys of a stream, each once."""
        return tuple(dict.fromkeys(stream.key for stream in self.streams))

    def find(self, key: str, *, labels: bool) -> int:
        """The number of a stream.

        Raises:
            ConfigError: there is none.
        """
        for number, stream in enumerate(self.streams):
            if stream.key == key and stream.labels == labels:
                return number
        raise ConfigError(f"the store has no {'labels' if labels else 'events'} by {key}")

    def lacks(self, needed: StorePlan) -> list[str]:
        """The totals that `needed` has and this plan has not, in words."""
        held = {name for stream in self.streams for name in stream.names()}
        return [name for stream in needed.streams for name in stream.names() if name not in held]

    def check_serves(self, needed: StorePlan, schema: Schema, *, where: object) -> None:
        """Check that a store with this plan serves a bundle that needs another, and can go on being fed.

        Raises:
            ConfigError: it lacks totals, or its totals are of columns that the bundle's events do not have alike.
        """
        if missing := self.lacks(needed):
            raise ConfigError(
                f"the store lacks {', '.join(missing)}",
                where=where,
                todo="backfill an empty store with this bundle's features",
            )
        columns = {column.name: column for column in schema.events.columns}
        for stream in self.streams:
            for summed in stream.sums:
                column = columns.get(summed.column)
                if column is None or (not summed.ones and column.decimals != summed.decimals):
                    raise ConfigError(f"the store totals {summed.column} as the events do not", where=where)
        numeric = {name for name in (self.id, *self.keys) if name in schema.whole_number_ids}
        if (
            set(self.keys) - set(columns)
            or self.id != schema.events.id
            or numeric != set(self.whole_number_ids)
        ):
            raise ConfigError("the store's ids and keys are not those of the events", where=where)
        if self.label and self.label != schema.label.column:
            raise ConfigError(f"the store's label is {self.label}", where=where)


def summed_by(agg: Any, schema: Schema) -> Summed:
    """The total behind a sum, a mean or a rate of a column that is not the label."""
    if isinstance(agg, Rate):
        return Summed(column=agg.column, ones=True)
    return Summed(column=agg.column, decimals=schema.events.column(agg.column).decimals)


class Entry(msgspec.Struct, frozen=True):
    """An event as a store takes it.

    Fields:
        id: encoded.
        time_us: event time, microseconds since 1970.
        keys: encoded, one for each of the plan's keys.
        amounts: what it adds to each stream: 1 and the scaled sums; nothing yet to a label stream.
        label: 1, 0, or None if not known yet.
    """

    id: bytes
    time_us: int
    keys: tuple[bytes, ...]
    amounts: tuple[tuple[int, ...], ...]
    label: int | None = None


class EntryEncoder:
    """Makes entries for stores with one plan."""

    def __init__(self, plan: StorePlan) -> None:
        self._keys = plan.keys
        self._streams = [
            [(s.column, 10**s.decimals, s.ones) for s in stream.sums]
            for stream in plan.streams
            if not stream.labels
        ]

    def __call__(
        self, event_id: int | str, time_us: int, values: Mapping[str, Any], label: int | None = None
    ) -> Entry:
        return Entry(
            encode_id(event_id),
            time_us,
            tuple([encode_id(values[key]) for key in self._keys]),
            tuple([(1, *_scaled(sums, values)) if sums else (1,) for sums in self._streams]),
            label,
        )


def _scaled(sums: Iterable[tuple[str, int, bool]], values: Mapping[str, Any]) -> list[int]:
    amounts = []
    for column, scale, ones in sums:
        value = values[column] or 0
        amounts.append(int(value == 1) if ones else round(value * scale))
    return amounts
