"""Which aggregates an online store is prepared for: the streams that it keeps for each key.

A stream holds, per key, the events that fulfil a condition, in the order of (event time, id). With each event it keeps
the running totals up to it, so that a sum over a window is the difference of two, and the values that are read one by
one. Least and largest values, and numbers of different ones, have an index beside it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mlops.bundle import Schema
from mlops.errors import BundleError, ConfigError
from mlops.features import (
    Aggregate,
    Count,
    Distinct,
    FeatureSet,
    Max,
    Min,
    Nth,
    SinceFirst,
    SinceLast,
    Where,
)
from mlops.wording import duration_text

__all__ = ["Coded", "Number", "Series", "StorePlan", "Stream"]

_KEY_TYPES = ("id", "text", "integer", "boolean")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Number(_Part, frozen=True, kw_only=True):
    """A column as a whole number, in units of 10^-decimals."""

    column: str
    decimals: int = 0


class Coded(_Part, frozen=True, kw_only=True):
    """A column whose values are told apart."""

    column: str
    decimals: int = 0


class Series(_Part, frozen=True, kw_only=True):
    """How many different values a column has in windows of one length, which end anywhere."""

    column: str
    window_us: int


class Stream(_Part, frozen=True, kw_only=True):
    """The events with one value in the column `key` that fulfil `where`, and, if `labelled`, have a label but 0.

    Fields:
        sums: columns with a running total, behind that of the events.
        kept: columns whose values are kept with each event.
        ranged: those of them whose least and largest values are indexed.
        distinct: what is indexed of columns whose different values are counted.
    """

    key: str
    where: Where | None = None
    labelled: bool = False
    sums: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    ranged: tuple[str, ...] = ()
    distinct: tuple[Series, ...] = ()

    @property
    def width(self) -> int:
        """How many totals there are."""
        return 1 + len(self.sums)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of an event, but the key and the condition."""
        return tuple(dict.fromkeys((*self.sums, *self.kept, *(s.column for s in self.distinct))))

    def names(self) -> list[str]:
        """What it is for, in words."""
        what = ["count", *(f"sum of {column}" for column in self.sums)]
        what += [f"values of {column}" for column in self.kept]
        what += [f"range of {column}" for column in self.ranged]
        what += [f"different {s.column} in {duration_text(s.window_us)}" for s in self.distinct]
        if self.labelled:
            what = [name.replace("count", "positives") for name in what]
        condition = f" where {self.where}" if self.where else ""
        return [f"{name} by {self.key}{condition}" for name in what]


class StorePlan(_Part, frozen=True, kw_only=True):
    """The streams of a store, and what ids look like in it. A stream's number is its place.

    Each key has a first stream, of all its events. `decimals` are those of each column that is read as a number.
    """

    id: str
    label: str
    whole_number_ids: tuple[str, ...]
    decimals: dict[str, int]
    streams: tuple[Stream, ...]
    format: Literal[3] = 3

    @classmethod
    def of(cls, features: FeatureSet, schema: Schema) -> StorePlan:
        """The least plan that `features` can be computed from.

        Raises:
            BundleError: a key is of a type that cannot be one.
        """
        streams: dict[tuple[str, Where | None, bool], Stream] = {}
        for a in features.aggregates:
            column = schema.events.column(a.key)
            if column.type not in _KEY_TYPES:
                raise BundleError(f"{column.type} {a.key} cannot be a key", where=a.name)
            wanted = [Stream(key=a.key), Stream(key=a.key, where=a.where), *_read_by(a, schema)]
            for stream in wanted:
                place = (stream.key, stream.where, stream.labelled)
                streams[place] = _both(streams[place], stream) if place in streams else stream
        plan = cls(
            id=schema.events.id,
            label="",
            whole_number_ids=(),
            decimals={},
            streams=tuple(sorted(streams.values(), key=lambda s: (s.labelled, s.where is not None))),
        )
        read = plan.columns
        ids = {schema.events.id, *plan.keys, *read}
        return msgspec.structs.replace(
            plan,
            label=schema.label.column if schema.label.column in read or plan.has_labelled else "",
            whole_number_ids=tuple(sorted(ids & set(schema.whole_number_ids))),
            decimals={name: schema.events.column(name).decimals for name in read},
        )

    @property
    def has_labelled(self) -> bool:
        """Whether a stream holds labelled events only."""
        return any(stream.labelled for stream in self.streams)

    @classmethod
    def read(cls, written: bytes, *, where: object) -> StorePlan:
        """The plan that stands in a store.

        Raises:
            ConfigError: it is of another version.
        """
        try:
            return msgspec.json.decode(written, type=cls)
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"not a store of this version: {error}", where=where, todo="backfill an empty one"
            ) from None

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that are keys of a stream, each once."""
        return tuple(dict.fromkeys(stream.key for stream in self.streams))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read of an event, each once, but id, time and keys."""
        conditions = [stream.where.column for stream in self.streams if stream.where]
        return tuple(dict.fromkeys((*(c for s in self.streams for c in s.columns), *conditions)))

    @property
    def cells(self) -> tuple[Number | Coded | Where, ...]:
        """What an entry says of an event: all that the streams read but the label."""
        cells: list[Number | Coded | Where] = []
        for stream in self.streams:
            cells += [Number(column=c, decimals=self.decimals[c]) for c in (*stream.sums, *stream.kept)]
            cells += [Coded(column=s.column, decimals=self.decimals[s.column]) for s in stream.distinct]
            cells += [stream.where] if stream.where else []
        return tuple(dict.fromkeys(cell for cell in cells if cell.column != self.label))

    def find(self, key: str, where: Where | None = None, *, labelled: bool = False) -> int:
        """The number of a stream.

        Raises:
            ConfigError: there is none.
        """
        for number, stream in enumerate(self.streams):
            if (stream.key, stream.where, stream.labelled) == (key, where, labelled):
                return number
        raise ConfigError(f"the store has no {Stream(key=key, where=where, labelled=labelled).names()[0]}")

    def lacks(self, needed: StorePlan) -> list[str]:
        """What `needed` has and this plan has not, in words."""
        held = {name for stream in self.streams for name in stream.names()}
        return [name for stream in needed.streams for name in stream.names() if name not in held]

    def check_serves(self, needed: StorePlan, schema: Schema, *, where: object) -> None:
        """Check that a store with this plan serves a bundle that needs another, and can go on being fed.

        Raises:
            ConfigError: it lacks something, or is of columns that the bundle's events do not have alike.
        """
        if missing := self.lacks(needed):
            raise ConfigError(
                f"the store lacks {', '.join(missing)}",
                where=where,
                todo="backfill an empty store with this bundle's features",
            )
        columns = {column.name: column for column in schema.events.columns}
        for name, decimals in self.decimals.items():
            if name not in columns or columns[name].decimals != decimals:
                raise ConfigError(f"the store reads {name} as the events do not have it", where=where)
        used = {self.id, *self.keys, *self.columns}
        if (
            set(self.keys) - set(columns)
            or self.id != schema.events.id
            or used & set(schema.whole_number_ids) != set(self.whole_number_ids)
        ):
            raise ConfigError("the store's ids and keys are not those of the events", where=where)
        if self.label and self.label != schema.label.column:
            raise ConfigError(f"the store's label is {self.label}", where=where)


def _read_by(a: Aggregate, schema: Schema) -> list[Stream]:
    """What an aggregate reads beside the count of its stream."""
    agg, label = a.agg, schema.label.column
    if isinstance(agg, Count | SinceFirst | SinceLast):
        return []
    if isinstance(agg, Nth):
        kept = () if agg.column == schema.events.time else (agg.column,)
        return [Stream(key=a.key, where=a.where, kept=kept)]
    if isinstance(agg, Min | Max):
        return [Stream(key=a.key, where=a.where, kept=(agg.column,), ranged=(agg.column,))]
    if isinstance(agg, Distinct):
        series = Series(column=agg.column, window_us=a.window_us)
        return [Stream(key=a.key, where=a.where, distinct=(series,))]
    if agg.column != label:
        return [Stream(key=a.key, where=a.where, sums=(agg.column,))]
    counted = schema.events.column(label).type == "boolean"
    return [Stream(key=a.key, where=a.where, labelled=True, sums=() if counted else (label,))]


def _both(one: Stream, other: Stream) -> Stream:
    return Stream(
        key=one.key,
        where=one.where,
        labelled=one.labelled,
        sums=tuple(dict.fromkeys(one.sums + other.sums)),
        kept=tuple(dict.fromkeys(one.kept + other.kept)),
        ranged=tuple(dict.fromkeys(one.ranged + other.ranged)),
        distinct=tuple(dict.fromkeys(one.distinct + other.distinct)),
    )
