"""What checked rows hold, in numbers: one aggregation by reason and day, of which a row each comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mlops.schema import EventSchema
from pipelines.event_table import DUPLICATE, LABEL, REASON

__all__ = ["Profile", "profile_rows"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What checked rows hold: the rows of each reason, and those that only bring a label.

    Of the good ones their days, their first and last event, how many values each column has and each boolean has true,
    and which id columns are whole numbers throughout.
    """

    good: int
    duplicates: int
    labels: int = 0
    reasons: dict[str, int]
    days: dict[str, int]
    first: datetime | None
    last: datetime | None
    known: dict[str, int]
    true: dict[str, int]
    whole_number_ids: tuple[str, ...]

    @property
    def quarantined(self) -> int:
        return sum(self.reasons.values())

    @property
    def about_known_events(self) -> int:
        """Rows that are fine, and no new events: they repeat one, or bring a label."""
        return self.labels + self.duplicates

    @property
    def rows(self) -> int:
        return self.good + self.labels + self.quarantined + self.duplicates


def profile_rows(rows: DataFrame, schema: EventSchema) -> Profile:
    """Aggregate checked rows, in one pass; a row a reason and a day comes back."""
    moment = F.col(schema.time) if schema.time else F.lit(None).cast("timestamp")
    ids = [c.name for c in schema.columns if c.type == "id"]
    booleans = [c.name for c in schema.columns if c.type == "boolean"]
    types = dict(rows.dtypes)

    def is_whole(name: str) -> Column:
        column = F.col(name)
        if types[name] == "bigint":
            return F.lit(True)
        return column.try_cast("bigint").cast("string").eqNullSafe(column)

    grouped = rows.groupBy(F.col(REASON), F.when(F.col(REASON).isNull(), F.to_date(moment)).alias("day")).agg(
        F.count(F.lit(1)).alias("rows"),
        F.unix_micros(F.min(moment)).alias("first"),
        F.unix_micros(F.max(moment)).alias("last"),
        *(F.count(c.name).alias(f"known {c.name}") for c in schema.columns),
        *(F.count_if(name).alias(f"true {name}") for name in booleans),
        *(F.bool_and(is_whole(name)).alias(f"whole {name}") for name in ids),
    )
    groups = grouped.collect()
    good = [g for g in groups if g[REASON] is None]
    others = {g[REASON]: g["rows"] for g in groups if g[REASON] is not None}
    duplicates, labels = others.pop(DUPLICATE, 0), others.pop(LABEL, 0)
    moments = [
        _EPOCH + timedelta(microseconds=g[end])
        for g in good
        for end in ("first", "last")
        if g[end] is not None
    ]
    return Profile(
        good=sum(g["rows"] for g in good),
        duplicates=duplicates,
        labels=labels,
        reasons=dict(sorted(others.items())),
        days={g["day"].isoformat(): g["rows"] for g in sorted(good, key=lambda g: str(g["day"])) if g["day"]},
        first=min(moments, default=None),
        last=max(moments, default=None),
        known={c.name: sum(g[f"known {c.name}"] for g in good) for c in schema.columns},
        true={name: sum(g[f"true {name}"] for g in good) for name in booleans},
        whole_number_ids=tuple(name for name in ids if all(g[f"whole {name}"] for g in good)),
    )
