"""Tables by day, as Spark writes and reads them: a folder of Parquet files for each event-time day (UTC)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from mlops.tables import NO_DAY, Part, day_folder
from pipelines.content import content_metrics, fingerprint
from pipelines.links import link_or_copy
from pipelines.spark import read_parquet

__all__ = ["day_of", "day_parts", "link_days", "read_days", "write_days"]

_DAY = "_day"
_STAGED = ".tmp-days"


def day_of(time: str) -> Column:
    """The day that a row belongs to, an ISO date; `NO_DAY` where there is no time column."""
    return F.to_date(time).cast("string") if time else F.lit(NO_DAY)


def write_days(rows: DataFrame, table: Path, *, time: str, id: str) -> None:
    """Write rows by day into a table that has none of these days, each file sorted by (time, id).

    A day is one file; rows without a time are as many as Spark makes of them, each a range of ids.
    """
    staged = table / _STAGED
    days = rows.withColumn(_DAY, day_of(time))
    # A task writes the days that it holds one after the other, so it must hold them in order.
    parts = (
        days.repartition(_DAY).sortWithinPartitions(_DAY, time, id)
        if time
        else days.repartitionByRange(id).sortWithinPartitions(_DAY, id)
    )
    parts.write.partitionBy(_DAY).parquet(str(staged))
    for part in staged.iterdir():  # under another name, since the rows may have a column `day`
        part.rename(day_folder(table, part.name.removeprefix(f"{_DAY}=")))
    staged.rmdir()


def link_days(old: Path, new: Path, days: Iterable[str]) -> None:
    """Give these days' files to another table, which has none of them, without copying where that is possible."""
    for day in days:
        day_folder(new, day).mkdir()
        for file in day_folder(old, day).iterdir():
            link_or_copy(file, day_folder(new, day) / file.name)


def read_days(spark: SparkSession, table: Path, days: Sequence[str]) -> DataFrame:
    """The rows of at least one of the table's days, without those of others being listed."""
    return read_parquet(spark, *(day_folder(table, day) for day in days))


def day_parts(spark: SparkSession, table: Path, days: Sequence[str], *, time: str) -> dict[str, Part]:
    """What these days of a table hold, as it is read from its files."""
    if not days:
        return {}
    rows = read_days(spark, table, days)
    found = rows.groupBy(day_of(time).alias(_DAY)).agg(*content_metrics(rows.columns)).collect()
    parts = {row[_DAY]: Part(rows=row["rows"], fingerprint=fingerprint(row)) for row in found}
    return dict(sorted(parts.items()))
