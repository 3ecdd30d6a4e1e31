"""A digest of a table's content that depends neither on the order of its rows nor on how they lie in files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, Row
from pyspark.sql import functions as F

__all__ = ["content_metrics", "fingerprint"]


def content_metrics(columns: Sequence[str]) -> list[Column]:
    """What to aggregate or observe of a table with these columns: `rows`, and what `fingerprint` needs.

    A row's hash is summed in two halves, so that the sums stay exact up to 2^31 rows. It passes over what is null,
    so which columns are is hashed too.
    """
    nulls = (
        F.shiftleft(F.col(name).isNull().cast("bigint"), place % 64) for place, name in enumerate(columns)
    )
    digest = F.xxhash64(*columns, reduce(Column.bitwiseXOR, nulls))
    return [
        F.count(F.lit(1)).alias("rows"),
        F.coalesce(F.sum(F.shiftrightunsigned(digest, 32)), F.lit(0)).alias("digest_high"),
        F.coalesce(F.sum(digest.bitwiseAND(F.lit(0xFFFFFFFF))), F.lit(0)).alias("digest_low"),
    ]


def fingerprint(metrics: Row | dict[str, int]) -> str:
    """32 hexadecimal digits from the values of `content_metrics`."""
    return f"{(metrics['digest_high'] << 32) + metrics['digest_low']:032x}"
