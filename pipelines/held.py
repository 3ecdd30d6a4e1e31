"""What an event table holds already, for a delivery that is merged into it.

A file whose content was taken before is passed over. Of the table's events only those matter whose id comes again:
they are looked up by id alone, and read whole only in days that the delivery has events of, since an event of another
day is another event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path

import msgspec
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from mlops.errors import InputError, MlopsError
from mlops.schema import EventSchema, Label
from mlops.storage import bring_back
from mlops.tables import Batch, EventTable, read_batches, read_event_table
from pipelines.days import day_of, read_days
from pipelines.event_table import REASON, typed
from pipelines.numbering import digest_of
from pipelines.repeats import WAS, WAS_LABEL, event_content
from pipelines.sources import Files

__all__ = ["Held", "batch_id", "earlier_events", "file_digests", "held_by", "without"]

_WRITE_ANEW = "write it anew from all files: mlops validate"
_BROADCAST_IDS = 1_000_000


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An event table as it is before a delivery is merged into it."""

    folder: Path
    table: EventTable
    batches: tuple[Batch, ...]

    @property
    def taken(self) -> frozenset[str]:
        """The digests of all files that it is made of."""
        return frozenset(digest for batch in self.batches for digest in batch.files)


def held_by(folder: Path) -> Held | None:
    """The event table in `folder`, if there is one.

    Raises:
        MlopsError: it does not say which days and batches it is made of.
    """
    bring_back(folder)
    if not folder.exists():
        return None
    try:
        table, batches = read_event_table(folder), read_batches(folder)
    except InputError as error:
        raise MlopsError(error.what, where=error.where, todo=_WRITE_ANEW) from None
    if not table.days:
        raise MlopsError("is not a table by day", where=folder, todo=_WRITE_ANEW)
    return Held(folder=folder, table=table, batches=batches)


def file_digests(groups: Sequence[Files]) -> dict[Path, str]:
    """A digest of each file's content."""
    return {path: digest_of(path) for files in groups for path in files.paths}


def without(groups: Sequence[Files], known: Iterable[Path]) -> list[Files]:
    """The groups without the files that are known; none that is left empty."""
    left = [tuple(path for path in files.paths if path not in set(known)) for files in groups]
    return [
        msgspec.structs.replace(files, paths=paths)
        for files, paths in zip(groups, left, strict=True)
        if paths
    ]


def batch_id(digests: Iterable[str]) -> str:
    """A name for the files with these digests, taken together."""
    return hashlib.sha256(" ".join(sorted(digests)).encode()).hexdigest()[:16]


def earlier_events(
    spark: SparkSession, held: Held, rows: DataFrame, schema: EventSchema, label: Label
) -> DataFrame | None:
    """The table's events that have an id of these rows, as `mark_repeats` takes them; None if there are none.

    Args:
        rows: checked rows, kept by Spark.
    """
    whole = schema.id in held.table.whole_number_ids
    key = _as_stored(schema.id, whole)
    ids = rows.where(F.col(REASON).isNull()).select(key.alias("_id"), day_of(schema.time).alias("_day"))
    span = ids.agg(
        F.min("_id").alias("least"),
        F.max("_id").alias("most"),
        F.count("_id").alias("rows"),
        F.collect_set("_day").alias("days"),
    ).first()
    if span is None or not span["rows"]:
        return None
    wanted = ids.select(F.col("_id").alias(schema.id)).where(F.col("_id").isNotNull())
    if span["rows"] <= _BROADCAST_IDS:
        wanted = F.broadcast(wanted)
    types = dict(rows.dtypes)
    nothing = rows.select(
        event_content(schema, label).alias(WAS), F.col(label.column).alias(WAS_LABEL)
    ).schema

    def known(days: Sequence[str], columns: Sequence[Column]) -> DataFrame:
        there = read_days(spark, held.folder, days)
        # Ids often grow with time: then files with others are passed over, by what their footers say of them.
        there = there.where(F.col(schema.id).between(F.lit(span["least"]), F.lit(span["most"])))
        there = there.join(wanted, schema.id, "left_semi")
        if not columns:
            there = typed(there, {c.name: types[c.name] for c in schema.columns})
        return there.select(
            F.col(schema.id).cast(types[schema.id]),
            *(columns or (event_content(schema, label).alias(WAS), F.col(label.column).alias(WAS_LABEL))),
        )

    same_day = [day for day in held.table.days if day in span["days"]]
    other_days = [day for day in held.table.days if day not in span["days"]]
    parts = [known(same_day, ())] if same_day else []
    if other_days:
        no_content = F.struct(*(F.lit(None).cast(f.dataType).alias(f.name) for f in nothing[WAS].dataType))
        no_label = F.lit(None).cast(nothing[WAS_LABEL].dataType)
        parts.append(known(other_days, (no_content.alias(WAS), no_label.alias(WAS_LABEL))))
    found = reduce(DataFrame.unionByName, parts).localCheckpoint()
    return None if found.isEmpty() else found


def _as_stored(id: str, whole: bool) -> Column:
    """The ids as the table has them; null where it can have no such id."""
    column = F.col(id)
    if not whole:
        return column.cast("string")
    number = column.try_cast("bigint")
    return F.when(number.cast("string") == column.cast("string"), number)  # 007 is not 7
