"""A window of a feature table, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.features import Aggregate, Feature, FeatureSet, Last, Rolling, duration_us
from mlops.schema import Task
from mlops.tables import FeatureTable, read_feature_table

__all__ = [
    "Dataset",
    "Span",
    "awaited_from",
    "feature_matrix",
    "label_array",
    "load_dataset",
    "open_table",
    "parse_day",
    "span_of",
]

_DAY_US = duration_us("1d")
_UNKNOWN: dict[Task, Any] = {"classification": np.int8(-1), "regression": np.float64(np.nan)}


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """n events in order of (time, id), one array a column.

    Fields:
        ids: [n], int64 or text.
        time_us: [n], microseconds since 1970, UTC; None where events have no time.
        day: [n], days since the first day of the window; None likewise.
        label: [n], 1 or 0 as int8, or a quantity as double; -1 or NaN where it is not known, or was known before
            others of its time: see `awaited_from`.
        features: [n, f] float32, in the order of `names`.
        card, amount: [n], or None where the use case has none.
        columns: the columns and features that slices are made of, [n] each, as far as the table holds them.
        table: what the table says of itself.
    """

    ids: NDArray[Any]
    time_us: NDArray[np.int64] | None
    day: NDArray[np.int64] | None
    label: NDArray[Any]
    features: NDArray[np.float32]
    names: tuple[str, ...]
    card: NDArray[Any] | None
    amount: NDArray[np.float64] | None
    table: FeatureTable
    columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known(self) -> NDArray[np.bool_]:
        """[n], whether the label is known."""
        return self.label >= 0 if self.label.dtype == np.int8 else np.isfinite(self.label)


def parse_day(text: str) -> date:
    """An ISO date.

    Raises:
        InputError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{text!r} is not a date", where="first day", todo="write it as 2018-07-25"
        ) from None


def awaited_from(times: pa.ChunkedArray, labels: pa.ChunkedArray, delay_days: int) -> datetime | None:
    """From which event time on labels were still awaited when the data ended; None where none was.

    Labels are awaited if one of the last `delay_days` is missing. Those that are there already were reported early,
    which frauds are sooner than others: to count them would say that all these days' known events are frauds. So
    from the first missing one on, and on the last `delay_days` calendar days (UTC), no label counts.

    Args:
        times: event times, timestamp[us, UTC], at least one.
        labels: null where not known.
    """
    last: datetime = pc.max(times).as_py()
    tail = pc.greater(times, pa.scalar(last - timedelta(days=delay_days), times.type))
    first_missing: datetime | None = pc.min(times.filter(pc.and_(tail, labels.is_null()))).as_py()
    if first_missing is None:
        return None
    midnight = datetime.combine(last.date() - timedelta(days=delay_days - 1), datetime.min.time(), UTC)
    return min(first_missing, midnight)


def load_dataset(
    folder: Path,
    use_case: UseCase,
    *,
    first_day: str = "",
    days: int = 0,
    skip_days: int = 0,
    features: FeatureSet | None = None,
) -> Dataset:
    """The events of `days` days from `first_day` (ISO date) on, or all events, from the feature table in `folder`.

    A label that was not due by the end of the table is not known: see `awaited_from`.

    Args:
        skip_days: how many of these days to leave out at their beginning; days are counted from `first_day` still.
        features: the definitions of the features to read; those of the use case unless given.

    Raises:
        InputError: no feature table, one made from other definitions, no rows, a feature without a value, or the
            window reaches beyond the data.
    """
    wanted = features or use_case.features
    source, table = open_table(folder, use_case, wanted)
    schema, label = use_case.events, use_case.label.column
    own = filter(None, (schema.id, schema.time, label, use_case.card, use_case.amount))
    sliced = {s.column or s.feature for s in use_case.slices}.intersection(source.schema.names)
    time_us = day = span = chosen = None
    if schema.time:
        span = span_of(source, use_case, folder, first_day, days)
        chosen = span.between(schema.time, skip_days)
    rows = source.to_table(columns=list(dict.fromkeys([*own, *sliced, *wanted.names])), filter=chosen)
    if read_feature_table(folder).fingerprint != table.fingerprint:
        raise InputError("has changed while it was read", where=folder, todo="begin again")
    rows = rows.sort_by([(name, "ascending") for name in (schema.time, schema.id) if name])
    labels = label_array(rows[label], use_case.task)
    if span is not None:
        time_us = rows[schema.time].cast(pa.int64()).to_numpy()
        day = (time_us - _microseconds(span.start)) // _DAY_US
        if span.awaited is not None:
            labels = np.where(time_us < _microseconds(span.awaited), labels, _UNKNOWN[use_case.task])
    return Dataset(
        ids=rows[schema.id].to_numpy(),
        time_us=time_us,
        day=day,
        label=labels,
        features=feature_matrix(rows, wanted.names, folder),
        names=wanted.names,
        card=rows[use_case.card].to_numpy() if use_case.card else None,
        amount=rows[use_case.amount].to_numpy() if use_case.amount else None,
        columns={name: rows[name].to_numpy(zero_copy_only=False) for name in sliced},
        table=table,
    )


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of event time, [start, end), and from when on labels are awaited, if some are."""

    start: datetime
    end: datetime
    awaited: datetime | None

    def between(self, time: str, first: int, last: int | None = None) -> pc.Expression:
        """The condition of the column `time` on the days from `first` to before `last`, or to the end."""
        start = self.start + timedelta(days=first)
        end = self.end if last is None else min(self.end, self.start + timedelta(days=last))
        return (ds.field(time) >= start) & (ds.field(time) < end)


def open_table(folder: Path, use_case: UseCase, features: FeatureSet) -> tuple[ds.Dataset, FeatureTable]:
    """The feature table in `folder`, which holds these features.

    Raises:
        InputError: it is none, was made from other definitions, or lacks a column or any row.
    """
    table = read_feature_table(folder)
    held = _definitions(table.features)
    if other := [name for name, one in _definitions(features).items() if held.get(name) != one]:
        raise InputError(
            f"was not made from these definitions of {', '.join(other)}",
            where=folder,
            todo="compute the features again",
        )
    schema = use_case.events
    needed = (schema.id, schema.time, use_case.label.column, use_case.card, use_case.amount, *features.names)
    source = ds.dataset(folder, format="parquet")
    if missing := [name for name in dict.fromkeys(needed) if name and name not in source.schema.names]:
        raise InputError(f"no column {', '.join(missing)}", where=folder, todo="compute the features again")
    if not source.count_rows():
        raise InputError("no rows", where=folder)
    return source, table


def span_of(source: ds.Dataset, use_case: UseCase, folder: Path, first_day: str, days: int) -> Span:
    """The stretch of `days` days from `first_day` on, or all that the table holds.

    Raises:
        InputError: it reaches beyond the data.
    """
    time, label = use_case.events.time, use_case.label.column
    everything = source.to_table(columns=[time, label])
    start, end = _window(everything[time], folder, first_day, days)
    awaited = awaited_from(everything[time], everything[label], use_case.label.delay_days)
    return Span(start=start, end=end, awaited=awaited)


def label_array(column: pa.ChunkedArray, task: Task) -> NDArray[Any]:
    """Labels [n] as a task has them: see `Dataset`."""
    type_ = pa.int8() if task == "classification" else pa.float64()
    return column.cast(type_).fill_null(_UNKNOWN[task]).to_numpy()


def feature_matrix(rows: pa.Table, names: Sequence[str], folder: Path) -> NDArray[np.float32]:
    """Columns as one matrix [n, f].

    Raises:
        InputError: a value is missing, or too large for float32.
    """
    matrix = np.empty((rows.num_rows, len(names)), np.float32)
    for column, name in enumerate(names):
        with np.errstate(over="ignore"):  # what does not fit becomes inf, and is refused
            matrix[:, column] = rows[name].to_numpy()
        if not np.isfinite(matrix[:, column]).all():
            raise InputError(
                "a feature has no value, or one that float32 cannot hold", where=f"{folder}, column {name}"
            )
    return matrix


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _definitions(features: FeatureSet) -> dict[str, Aggregate | Feature]:
    """What defines each feature, without its words, which may change."""
    found: dict[str, Aggregate | Feature] = {}
    for feature in features.features:
        if isinstance(feature, Rolling | Last):
            found |= {a.name: a for a in feature.aggregates()}
        else:
            bare = msgspec.structs.replace(feature, unit="", description="")
            found |= dict.fromkeys(feature.names, bare)
    return found


def _window(times: pa.ChunkedArray, folder: Path, first_day: str, days: int) -> tuple[datetime, datetime]:
    held = pc.min_max(times).as_py()
    if not first_day:
        return held["min"], held["max"] + timedelta(microseconds=1)
    start = datetime.combine(parse_day(first_day), datetime.min.time(), UTC)
    end = start + timedelta(days=days)
    if start.date() < held["min"].date() or (end - timedelta(days=1)).date() > held["max"].date():
        raise InputError(
            f"the window {start.date()} to {end.date() - timedelta(days=1)} reaches beyond the data, "
            f"{held['min'].date()} to {held['max'].date()}",
            where=folder,
            todo=f"choose a first day that leaves {days} days",
        )
    return start, end
