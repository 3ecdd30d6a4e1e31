"""A feature table kept up to date: only the days are computed again whose windows reach what is new.

The feature table says what each day of events held when it was computed. A day is touched if its own events or any that
its windows reach are others now: a new day touches itself, a late event or a late label its own day and those after
it, as far as the longest window and its delay. Other days are the same files as before.

It runs in this process, with the kernel that Spark's workers run, so it gives the same values to the last bit; and it
reads a week at a time with the days before it that windows need, of them the events that share a key.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlops.aggregates import Aggregate
from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.schema import EventSchema, Label
from mlops.storage import publish_dir
from mlops.tables import (
    EventTable,
    FeatureTable,
    day_folder,
    read_event_table,
    read_feature_table,
    total_fingerprint,
    write_table_meta,
)
from pipelines.days import link_days
from pipelines.feature_table import Written, column_types, parts_of, write_day
from pipelines.kernel import aggregate, row_features

__all__ = ["UpdateResult", "can_update", "touched_days", "update_features"]

_CHUNK_DAYS = 7


class UpdateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `changed` events that were in the table before have another value now, in some feature."""

    days: tuple[str, ...]
    rows_read: int
    rows_written: int
    changed: int
    seconds: float


def can_update(events: Path, target: Path, features: FeatureSet, schema: EventSchema) -> bool:
    """Whether the feature table is of these events at another time, and of the same definitions and types."""
    try:
        held, table = read_feature_table(target), read_event_table(events)
    except InputError:
        return False
    numbers = tuple(c.name for c in schema.columns if c.name in table.whole_number_ids)
    made_with = (held.features, held.columns, held.whole_number_ids)
    return bool(schema.time and held.sources) and made_with == (features, column_types(schema), numbers)


def touched_days(old: Mapping[str, str], new: Mapping[str, str], horizon_us: int) -> tuple[str, ...]:
    """The days of `new` whose features may be others than those of `old`, in order.

    Args:
        old, new: the fingerprint of each day's events, by ISO date.
        horizon_us: how far back the features of an event look.
    """
    reach = timedelta(days=1, microseconds=horizon_us)
    changed = [_start(day) for day in {*old, *new} if old.get(day) != new.get(day)]
    return tuple(day for day in sorted(new) if any(begin <= _start(day) < begin + reach for begin in changed))


def update_features(
    events: Path, target: Path, features: FeatureSet, schema: EventSchema, label: Label
) -> UpdateResult:
    """Compute the touched days of a feature table again; without any, nothing is written.

    Raises:
        InputError: one of the tables is none.
        SetupError: the device is full.
    """
    started = time.monotonic()
    table, held = read_event_table(events), read_feature_table(target)
    now = {day: part.fingerprint for day, part in table.days.items()}
    days = touched_days(held.sources, now, features.horizon_us)
    gone = set(held.days) - set(table.days)
    if not days and not gone:
        return UpdateResult(
            days=(), rows_read=0, rows_written=0, changed=0, seconds=round(time.monotonic() - started, 3)
        )
    rows_read = changed = 0
    written: list[Written] = []
    with publish_dir(target) as folder:
        link_days(target, folder, set(held.days) - set(days) - gone)
        for chunk in _chunks(days):
            window = _window(events, table, chunk, features, schema)
            rows_read += window.num_rows
            for day, part in _by_day(_features(window, chunk, features, schema), chunk, schema):
                changed += _count_changed(day_folder(target, day), part, features, schema)
                written.append(write_day(folder, part, schema, label))
        replaced = sum(_unlabelled(day_folder(target, day), label) for day in {*days, *gone} & set(held.days))
        parts = {day: part for day, part in held.days.items() if day not in gone} | parts_of(written)
        parts = dict(sorted(parts.items()))
        meta = FeatureTable(
            rows=sum(part.rows for part in parts.values()),
            unlabelled=held.unlabelled - replaced + sum(one.unlabelled for one in written),
            features=features,
            events=(table.fingerprint,),
            whole_number_ids=held.whole_number_ids,
            fingerprint=total_fingerprint(parts),
            days=parts,
            sources=now,
            columns=held.columns,
        )
        write_table_meta(folder, meta)
    return UpdateResult(
        days=days,
        rows_read=rows_read,
        rows_written=sum(one.rows for one in written),
        changed=changed,
        seconds=round(time.monotonic() - started, 3),
    )


def _chunks(days: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The days in stretches of at most a week."""
    chunk: list[str] = []
    for day in days:
        if chunk and _start(day) - _start(chunk[0]) >= timedelta(days=_CHUNK_DAYS):
            yield tuple(chunk)
            chunk = []
        chunk.append(day)
    if chunk:
        yield tuple(chunk)


def _window(
    events: Path, table: EventTable, chunk: Sequence[str], features: FeatureSet, schema: EventSchema
) -> pa.Table:
    """The events of these days, and those before them that their windows may reach."""
    first = (_start(chunk[0]) - timedelta(microseconds=features.horizon_us)).date().isoformat()
    files = [
        str(file)
        for day in table.days
        if first <= day <= chunk[-1]
        for file in sorted(day_folder(events, day).glob("*.parquet"))
    ]
    return ds.dataset(files, format="parquet").to_table([c.name for c in schema.columns])


def _features(window: pa.Table, chunk: Sequence[str], features: FeatureSet, schema: EventSchema) -> pa.Table:
    """The features of the events of these days, in the order of their ids."""
    begin = pa.scalar(_start(chunk[0]), window[schema.time].type)
    mine = window.filter(pc.greater_equal(window[schema.time], begin)).sort_by(schema.id)
    done = mine
    for key, aggregates in features.by_key.items():
        sharing = _sharing(window, mine, aggregates, schema)
        found = aggregate(sharing, key, aggregates, schema)
        found = found.filter(pc.greater_equal(found[schema.time], begin)).sort_by(schema.id)
        for a in aggregates:
            done = done.append_column(a.name, found[a.name])
    return row_features(done, features, schema)


def _sharing(
    window: pa.Table, mine: pa.Table, aggregates: Sequence[Aggregate], schema: EventSchema
) -> pa.Table:
    """The events that these aggregates of `mine` may read, and `mine`, with the columns that they read."""
    key = aggregates[0].key
    read = {schema.id, schema.time, key}
    for a in aggregates:
        read |= {getattr(a.agg, "column", key), a.where.column if a.where else key}
    times, own = window[schema.time], pc.min_max(mine[schema.time]).as_py()
    furthest = timedelta(microseconds=max(a.delay_us + a.window_us for a in aggregates))
    nearest = timedelta(microseconds=min(a.delay_us for a in aggregates))
    reached = pc.and_(
        pc.greater(times, pa.scalar(own["min"] - furthest, times.type)),
        pc.less_equal(times, pa.scalar(own["max"] - nearest, times.type)),
    )
    wanted = pc.or_(reached, pc.greater_equal(times, pa.scalar(own["min"], times.type)))
    return window.select(sorted(read)).filter(pc.and_(wanted, pc.is_in(window[key], pc.unique(mine[key]))))


def _by_day(table: pa.Table, chunk: Sequence[str], schema: EventSchema) -> Iterator[tuple[str, pa.Table]]:
    times = table[schema.time]
    for day in chunk:
        begin, end = (pa.scalar(_start(day) + timedelta(days=n), times.type) for n in (0, 1))
        yield day, table.filter(pc.and_(pc.greater_equal(times, begin), pc.less(times, end)))


def _count_changed(before: Path, after: pa.Table, features: FeatureSet, schema: EventSchema) -> int:
    """How many events of a day have other features than before."""
    if not before.is_dir():
        return 0
    names = [name for name in features.names if name in after.column_names]
    old = ds.dataset(before, format="parquet").to_table([schema.id, *names]).sort_by(schema.id)
    old = old.filter(pc.is_in(old[schema.id], after[schema.id].combine_chunks()))
    new = after.filter(pc.is_in(after[schema.id], old[schema.id].combine_chunks())).sort_by(schema.id)
    differs = np.zeros(old.num_rows, bool)
    for name in names:
        differs |= pc.not_equal(old[name], new[name]).to_numpy()
    return int(differs.sum())


def _unlabelled(day: Path, label: Label) -> int:
    """How many rows of a day have no label, by what stands in its files' footers."""
    count = 0
    for file in day.glob("*.parquet"):
        footer = pq.read_metadata(file)
        column = footer.schema.to_arrow_schema().get_field_index(label.column)
        count += sum(
            footer.row_group(group).column(column).statistics.null_count
            for group in range(footer.num_row_groups)
        )
    return count


def _start(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
