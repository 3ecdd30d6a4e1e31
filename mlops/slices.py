"""Parts of the events that a model is judged on one by one, and the figures of each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.errors import ConfigError
from mlops.metrics import Interval

__all__ = ["MISSING", "Slice", "SliceFigures", "SliceRows", "cut"]

MISSING = "not known"
_MOST_VALUES = 20  # of a column whose values are not listed; the rest is one slice


class Slice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events by an event's `column` or by a `feature`: in bands between borders, or by values.

    Fields:
        name: what the parts are called together.
        bands: borders, rising; a part holds from one border up to before the next one, the first and the last are open.
        values: those to tell apart; neither these nor bands, and every value is a part of its own.
        labels: what the parts are called, one a band or value; by default they are named for borders or values.
        description: what it says of an event to be in one or the other.

    Of a column that is known with the label only, a kind of positive, a part is the positives of a kind among all
    events that are not positive: no other event is of any kind.

    Raises:
        ConfigError: not one of `column` and `feature`, both of `bands` and `values`, or labels that do not fit.
    """

    name: str
    column: str = ""
    feature: str = ""
    bands: tuple[float, ...] = ()
    values: tuple[str | int | float | bool, ...] = ()
    labels: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        where = f"Slice {self.name}"
        if bool(self.column) == bool(self.feature):
            raise ConfigError("needs a column or a feature, and not both", where=where)
        if self.bands and self.values:
            raise ConfigError("has bands and values", where=where, todo="leave out one")
        if list(self.bands) != sorted(set(self.bands)):
            raise ConfigError(f"its borders {self.bands} do not rise", where=where)
        parts = len(self.bands) + 1 if self.bands else len(self.values)
        if self.labels and len(self.labels) != parts:
            raise ConfigError(f"has {len(self.labels)} labels for {parts} parts", where=where)


class SliceRows(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the events: which of them, [n]."""

    name: str
    value: str
    rows: NDArray[np.bool_]


class SliceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the events, how many there are of it, and what the model is worth on them.

    Fields:
        name, value: of the slice, and of this part of it.
        events, positives: its support; positives are 0 in regression.
        figures: by name; None where the support is too small to say.
    """

    name: str
    value: str
    events: int
    positives: int
    figures: dict[str, Interval] | None


def cut(
    slices: Sequence[Slice],
    columns: Mapping[str, NDArray[Any]],
    *,
    positive: NDArray[np.bool_] | None = None,
    details: Sequence[str] = (),
) -> list[SliceRows]:
    """The parts of events [n] that there are; a slice whose column is not there has none.

    Args:
        columns: of the events and features, by name, [n] each.
        positive: [n], whether an event is; needed for slices by `details` only.
        details: columns that are known with the label only.
    """
    found: list[SliceRows] = []
    for one in slices:
        source = one.column or one.feature
        if source not in columns:
            continue
        values = columns[source]
        kinds = positive if source in details else None
        for label, rows in _parts(one, values):
            own = rows if kinds is None else rows & kinds
            if label == MISSING and kinds is not None and (own == kinds).all():
                continue  # nothing is known of any kind
            if own.any():
                held = own if kinds is None else own | ~kinds
                found.append(SliceRows(name=one.name, value=label, rows=held))
    return found


def _parts(one: Slice, values: NDArray[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    missing = _missing(values)
    parts: list[tuple[str, NDArray[np.bool_]]]
    if one.bands:
        numbers = np.where(missing, np.nan, values).astype(np.float64)
        place = np.digitize(numbers, one.bands)
        labels = one.labels or _band_names(one.bands)
        parts = [(label, ~missing & (place == number)) for number, label in enumerate(labels)]
    elif one.values:
        labels = one.labels or tuple(_text(value) for value in one.values)
        parts = [
            (label, ~missing & (values == value)) for label, value in zip(labels, one.values, strict=True)
        ]
    else:
        there, counts = np.unique(values[~missing], return_counts=True)
        kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_VALUES])
        parts = [(_text(value), ~missing & (values == value)) for value in there[kept].tolist()]
        if len(kept) < len(there):
            parts.append(("others", ~missing & ~np.any([rows for _, rows in parts], axis=0)))
    return [*parts, (MISSING, missing)]


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype == object:
        return np.array([value is None or value != value for value in values], np.bool_)
    if np.issubdtype(values.dtype, np.floating):
        return np.asarray(np.isnan(values))
    return np.zeros(len(values), np.bool_)


def _band_names(bands: tuple[float, ...]) -> tuple[str, ...]:
    between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(bands)]
    return (f"below {bands[0]:g}", *between, f"from {bands[-1]:g}")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
