"""How well events were scored and decided, measured once their labels are due.

An event counts when its label is due: event time + the label's delay ≤ `as_of`. Labels that come in before that
are mostly frauds reported early, and would make a model look better than it is. Labels that are due and have not
come are counted and reported. Events that have no time count from when they were scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.features import duration_us
from monitoring.measures import Answered, measure_of
from monitoring.results import PerformanceResult

__all__ = ["between", "clock_of", "measure_performance", "read_table"]

_DAY_US = duration_us("1d")
_RANK = {"approve": 0.0, "review": 1.0, "decline": 2.0}


def read_table(data: Path | pa.Table) -> pa.Table:
    """A Parquet file or folder as a table.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(data, pa.Table):
        return data
    try:
        return pq.read_table(data, partitioning=None)  # what folders are called is no column
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"cannot be read as Parquet: {error}", where=data) from None


def measure_performance(
    served: Path | pa.Table,
    labels: Path | pa.Table,
    use_case: UseCase,
    *,
    as_of: datetime,
    first_day: date | None = None,
    last_day: date | None = None,
) -> PerformanceResult:
    """Performance of the served events from `first_day` to `last_day` (inclusive), whole and day by day.

    Args:
        served: id, event time (or `scored_at`), `score`, `version` and, as far as the use case has them, card, amount
            and `decision` of each event, a column each.
        labels: id, label and `known_at` (UTC) of each event; of several for one event the last one known by
            `as_of` holds.
        use_case: names the columns and the label's delay; its policy gives costs and the bootstrap's numbers.
        as_of: the moment at which is looked, with an offset.

    Raises:
        InputError: a table cannot be read, lacks a column, or `as_of` has no offset.
    """
    if as_of.tzinfo is None:
        raise InputError("has no offset", where="as_of", todo="give a time in UTC")
    table = between(_checked(served, use_case), clock_of(use_case), first_day, last_day)
    events = _answered(table, use_case)
    now = int(as_of.timestamp() * 1_000_000)
    due = events.time + use_case.label.delay_days * _DAY_US <= now
    truth = _known_labels(labels, use_case, as_of, table.schema.field(use_case.events.id).type)
    found, label = truth.look_up(events.id)
    counted = due & found
    inside, y = events.take(counted), label[counted]
    measure, policy = measure_of(use_case.task), use_case.policy
    return PerformanceResult(
        as_of=as_of.astimezone(UTC).isoformat(),
        served=len(events.time),
        due=int(due.sum()),
        missing=int((due & ~found).sum()),
        not_due=int((~due).sum()),
        period=measure(inside, y, policy) if len(y) else None,
        days=tuple(measure(inside.take(rows), y[rows], policy) for rows in _by_day(inside.day)),
    )


def _checked(served: Path | pa.Table, use_case: UseCase) -> pa.Table:
    decided = "decision" if use_case.policy.costs is not None else ""
    own = (use_case.events.id, clock_of(use_case), use_case.card, use_case.amount)
    names = list(dict.fromkeys(filter(None, (*own, "score", decided, "version"))))
    return _columns(read_table(served), names, served if isinstance(served, Path) else "served events")


def _columns(table: pa.Table, names: list[str], where: object) -> pa.Table:
    if missing := [name for name in names if name not in table.column_names]:
        raise InputError(f"has no column {', '.join(missing)}", where=where)
    return table.select(names)


def between(table: pa.Table, column: str, first_day: date | None, last_day: date | None) -> pa.Table:
    """The rows whose time lies on these days, both inclusive, in UTC."""
    time = table[column].cast(pa.timestamp("us", tz="UTC"))
    if first_day is not None:
        keep = pc.greater_equal(time, _midnight(first_day))
        table, time = table.filter(keep), time.filter(keep)
    if last_day is not None:
        table = table.filter(pc.less(time, _midnight(last_day + timedelta(days=1))))
    return table


def _midnight(day: date) -> pa.Scalar:
    return pa.scalar(datetime(day.year, day.month, day.day, tzinfo=UTC), pa.timestamp("us", tz="UTC"))


def clock_of(use_case: UseCase) -> str:
    """The column that says when a served event was: its event time, or when it was scored."""
    return use_case.events.time or "scored_at"


def _answered(table: pa.Table, use_case: UseCase) -> Answered:
    rank = None
    if use_case.policy.costs is not None:
        decisions = table["decision"].to_pylist()
        if unknown := sorted({str(decision) for decision in decisions} - set(_RANK)):
            raise InputError(f"unknown decision {unknown[0]!r}", where="served events")
        rank = np.array([_RANK[decision] for decision in decisions], np.float64)
    return Answered(
        id=table[use_case.events.id].to_numpy(),
        time=_micros(table[clock_of(use_case)]),
        card=table[use_case.card].to_numpy() if use_case.card else None,
        amount=table[use_case.amount].cast(pa.float64()).to_numpy() if use_case.amount else None,
        score=table["score"].cast(pa.float64()).to_numpy(),
        rank=rank,
        version=table["version"].cast(pa.string()).to_numpy(),
    )


def _micros(column: pa.ChunkedArray) -> NDArray[np.int64]:
    values: NDArray[np.int64] = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return values


class _Truth(msgspec.Struct, frozen=True):
    """Labels by id, as one sorted array each."""

    id: NDArray
    label: NDArray

    def look_up(self, ids: NDArray) -> tuple[NDArray[np.bool_], NDArray]:
        """Whether each id has a label, and it (0 where it has none)."""
        if not len(self.id) or not len(ids):
            return np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.int64)
        at = np.minimum(np.searchsorted(self.id, ids), len(self.id) - 1)
        found = self.id[at] == ids
        return found, np.where(found, self.label[at], 0)


def _known_labels(
    labels: Path | pa.Table, use_case: UseCase, as_of: datetime, id_type: pa.DataType
) -> _Truth:
    names = [use_case.events.id, use_case.label.column, "known_at"]
    where = labels if isinstance(labels, Path) else "labels"
    table = _columns(read_table(labels), names, where)
    try:
        table = table.set_column(0, names[0], table[names[0]].cast(id_type))
    except pa.ArrowInvalid:
        raise InputError(f"{names[0]} is not {id_type}, as it is in the served events", where=where) from None
    known = table["known_at"].cast(pa.timestamp("us", tz="UTC"))
    limit = pa.scalar(as_of, pa.timestamp("us", tz="UTC"))
    table = table.filter(pc.and_(pc.less_equal(known, limit), pc.is_valid(table[use_case.label.column])))
    table = table.sort_by([(names[0], "ascending"), ("known_at", "ascending")])
    ids = table[names[0]].to_numpy()
    last = np.append(ids[1:] != ids[:-1], True) if len(ids) else np.zeros(0, np.bool_)
    type_ = pa.int64() if use_case.task == "classification" else pa.float64()
    return _Truth(ids[last], table[names[1]].cast(type_).to_numpy()[last])


def _by_day(day: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for value in np.unique(day):
        yield np.flatnonzero(day == value)
