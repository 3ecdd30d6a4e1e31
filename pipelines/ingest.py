"""The next version of an event table: good rows added to what it held, day by day.

Days that nothing was added to are the same files as before; the others are written anew. Events that were in the
table stay as they are, but for a label that was not known and now is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mlops.errors import ConfigError, InputError
from mlops.schema import EventSchema, Label
from mlops.tables import NO_DAY, Batch, EventTable, total_fingerprint
from pipelines.days import day_of, day_parts, link_days, read_days, write_days
from pipelines.event_table import LABEL, REASON, is_stored_as, stored_types, typed
from pipelines.held import Held
from pipelines.profile import Profile

__all__ = ["keep_batches", "write_events"]

_LATER = "_later"


def write_events(
    spark: SparkSession,
    rows: DataFrame,
    folder: Path,
    schema: EventSchema,
    label: Label,
    profile: Profile,
    held: Held | None = None,
) -> EventTable:
    """Write the good rows, and what the table held, into an empty folder.

    Args:
        rows: checked rows, and `profile` what they hold.
        held: the table before; None where its events are to be replaced.

    Returns:
        what the table is now.

    Raises:
        ConfigError: what the table holds does not fit the schema any more.
    """
    numbers = [
        name for name in profile.whole_number_ids if held is None or name in held.table.whole_number_ids
    ]
    types = stored_types(schema, numbers)
    events = typed(rows.where(F.col(REASON).isNull()), types)
    before = held.table.days if held is not None else {}
    days = set(profile.days if schema.time else [NO_DAY] if profile.good else [])
    if held is not None and before:
        labels = rows.where(F.col(REASON) == LABEL)
        days |= {row["_day"] for row in labels.select(day_of(schema.time).alias("_day")).distinct().collect()}
        if not _is_stored_as(spark, held, types, schema):
            days |= set(before)
        link_days(held.folder, folder, set(before) - days)
        if again := sorted(days & set(before)):
            earlier = typed(read_days(spark, held.folder, again), types)
            events = _with_labels(earlier, labels, schema, label).unionByName(events)
    if days:
        write_days(events, folder, time=schema.time, id=schema.id)
    parts = {day: part for day, part in before.items() if day not in days}
    parts |= day_parts(spark, folder, sorted(days), time=schema.time)
    parts = dict(sorted(parts.items()))
    first, last = _span(profile, held)
    return EventTable(
        rows=sum(part.rows for part in parts.values()),
        whole_number_ids=tuple(numbers),
        first_event=first,
        last_event=last,
        fingerprint=total_fingerprint(parts),
        days=parts,
    )


def keep_batches(quarantine: Path, batches: Iterable[Batch]) -> None:
    """Remove what was quarantined of other batches, and what killed writers left; there must be no other writer."""
    kept = {f"batch={batch.id}" for batch in batches if batch.quarantined}
    for path in quarantine.iterdir():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path)
        elif not path.is_dir():
            path.unlink()


def _is_stored_as(spark: SparkSession, held: Held, types: Mapping[str, str], schema: EventSchema) -> bool:
    """Whether the table's files have just these columns in these types; those of all its days are alike."""
    there = dict(read_days(spark, held.folder, [next(iter(held.table.days))]).dtypes)
    try:
        return is_stored_as(there, types, schema, held.folder)
    except InputError as error:  # and no fault of the delivery's
        raise ConfigError(error.what, where=error.where, todo=error.todo) from None


def _with_labels(events: DataFrame, labels: DataFrame, schema: EventSchema, label: Label) -> DataFrame:
    """The events, with the labels that these rows bring, and what details they bring of them."""
    id_type = dict(events.dtypes)[schema.id]
    brought = {name: f"{_LATER}_{name}" for name in label.columns if name in events.columns}
    later = labels.select(
        F.col(schema.id).cast(id_type), *(F.col(name).alias(new) for name, new in brought.items())
    )
    return events.join(later, schema.id, "left").select(
        *(
            F.coalesce(brought[name], name).alias(name) if name in brought else F.col(name)
            for name in events.columns
        )
    )


def _span(profile: Profile, held: Held | None) -> tuple[str, str]:
    """The first and the last event of both, ISO 8601; empty where events have no time."""
    moments = [moment for moment in (profile.first, profile.last) if moment is not None]
    if held is not None:
        texts = (held.table.first_event, held.table.last_event)
        moments += [datetime.fromisoformat(text) for text in texts if text]
    return (min(moments).isoformat(), max(moments).isoformat()) if moments else ("", "")
