"""Rows about one event: which of them is the event, which repeat it, bring its label, or contradict it.

Of rows with one id the event is the one in the event table; where there is none, the first by (event time, content),
a row with a label before the same row without. A row that says the same, or the same but no label, is a duplicate. A
row that says the same as the event in the table, and has the label that this lacks, brings the label. All others use
the id for another event, or have another label.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mlops.schema import EventSchema, Label
from pipelines.event_table import DUPLICATE, LABEL, REASON
from pipelines.sources import FILE

__all__ = ["WAS", "WAS_LABEL", "event_content", "mark_repeats"]

WAS, WAS_LABEL = "_was", "_was_label"
_DIGEST = "_digest"
_BROADCAST_IDS = 1_000_000  # 8 MB


def event_content(schema: EventSchema, label: Label) -> Column:
    """What an event says besides its label and the label's details, ids as text."""
    columns = [c for c in schema.columns if c.name not in label.columns]
    return F.struct(
        *(F.col(c.name).cast("string").alias(c.name) if c.type == "id" else F.col(c.name) for c in columns)
    )


def mark_repeats(
    rows: DataFrame, schema: EventSchema, label: Label, earlier: DataFrame | None = None
) -> DataFrame:
    """Give a reason to good rows that are not an event's first. Only rows whose id comes twice are sorted.

    Args:
        rows: checked rows, kept by Spark.
        earlier: of the events in the table that have an id of these rows, the id, `WAS`, which is their
            `event_content`, and `WAS_LABEL`.
    """
    is_good = F.col(REASON).isNull()
    digest = F.xxhash64(schema.id)
    often = rows.where(is_good).groupBy(digest.alias(_DIGEST)).count().where("count > 1").select(_DIGEST)
    if earlier is not None:
        often = often.unionByName(earlier.select(digest.alias(_DIGEST))).distinct()
    often = often.localCheckpoint()
    if (ids := often.count()) == 0:
        return rows
    if ids <= _BROADCAST_IDS:
        often = F.broadcast(often)
    rows = rows.withColumn(_DIGEST, F.when(is_good, digest))
    once = rows.join(often, _DIGEST, "left_anti").drop(_DIGEST)
    again = rows.join(often, _DIGEST, "left_semi").drop(_DIGEST)
    if earlier is None:
        content = again.select(event_content(schema, label)).schema[0].dataType
        again = again.withColumn(WAS, F.lit(None).cast(content))
        again = again.withColumn(WAS_LABEL, F.lit(None).cast(again.schema[label.column].dataType))
    else:
        again = again.join(earlier, schema.id, "left")
    marked = again.withColumn(REASON, _verdict(schema, label)).drop(WAS, WAS_LABEL)
    return once.unionByName(marked.localCheckpoint())


def _verdict(schema: EventSchema, label: Label) -> Column:
    """The reason why a good row is not a new event, or null."""
    names = [c.name for c in schema.columns if c.name not in (schema.time, *label.columns)]
    in_order = [*([schema.time] if schema.time else []), *names, *label.columns, FILE]
    content, truth = event_content(schema, label), F.col(label.column)
    was, was_label = F.col(WAS), F.col(WAS_LABEL)
    of_the_event = F.coalesce(was == content, F.lit(False))
    rows = Window.partitionBy(schema.id).orderBy(
        of_the_event.desc(), *(F.col(name).asc_nulls_last() for name in in_order)
    )
    before, label_before = F.lag(content).over(rows), F.lag(truth).over(rows)
    as_before = F.coalesce(before == content, F.lit(False))

    def says_no_more(than: Column) -> Column:
        return truth.isNull() | truth.eqNullSafe(than)

    return (
        F.when((of_the_event & says_no_more(was_label)) | (as_before & says_no_more(label_before)), DUPLICATE)
        .when((of_the_event & was_label.isNotNull()) | as_before, f"{label.column}: another than before")
        .when(was.isNull() & before.isNull(), F.lit(None))
        .when(of_the_event, LABEL)
        .otherwise(f"{schema.id}: used before for another event")
    )
