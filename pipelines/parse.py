"""From a column as it stands in a file to a column of the schema, and what is wrong with values that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mlops import schema as events
from mlops.layout import Layout
from pipelines.foreign import spark_form
from serving.codes import MAX_ID_BYTES

__all__ = ["NUMBER", "TIME", "UNREADABLE", "Parsed", "parse"]

UNREADABLE: dict[events.ColumnType, str] = {
    "id": "not an id",
    "timestamp": "not a time",
    "decimal": "not a number",
    "float": "not a number",
    "integer": "not a whole number",
    "text": "not text",
    "boolean": "neither true nor false",
}
_MISSING = "missing"
_LONGEST_ID = MAX_ID_BYTES - 3  # what an online store can take
_PLAIN = Layout(name="plain")
_SHOWN_VALUES = 8
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what Spark reads where bytes are not UTF-8
_EXACT = 2.0**53  # up to here a double holds every whole number
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)? ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"


class Parsed(msgspec.Struct, frozen=True):
    """A value of the schema's type, null where there is none, and the problem with it, null where there is none."""

    value: Column
    problem: Column


def parse(
    column: events.Column, raw: Column, type_: T.DataType, *, csv: bool = False, layout: Layout = _PLAIN
) -> Parsed:
    """Parse and check a column.

    Args:
        raw: as it stands in the file, of Spark type `type_`.
        csv: it comes from a CSV file, where numbers and text are not told apart.
        layout: how the file writes its values.

    Returns:
        ids as text, or as the whole numbers that the file has; times as timestamps, decimals rounded to their digits
        and floats as doubles.
    """
    if isinstance(type_, T.StringType):
        raw = F.trim(raw)
        raw = F.when(~raw.isin("", *layout.missing), raw)
    read = {
        "id": _id,
        "timestamp": _timestamp,
        "decimal": _double,
        "float": _double,
        "integer": _integer,
        "text": lambda raw, type_: raw.cast("string"),
        "boolean": _boolean,
    }[column.type]
    if column.type == "id" and csv:
        # A column of whole numbers with a gap is written as 12.0 by some.
        raw = F.regexp_replace(raw, r"^(-?[0-9]+)\.0+$", "$1")
    read_value = read(*spark_form(column, raw, type_, layout))
    checks = F.when(read_value.isNull() & raw.isNotNull(), UNREADABLE[column.type])
    if not column.nullable:
        checks = checks.when(read_value.isNull(), _MISSING)
    value = read_value
    if column.type in ("decimal", "float"):
        checks = checks.when(F.isnan(value) | (F.abs(value) == float("inf")), "not finite")
    if column.minimum is not None:
        checks = checks.when(value < _limit(column, column.minimum), f"below {_shown(column.minimum)}")
    if column.maximum is not None:
        checks = checks.when(value > _limit(column, column.maximum), f"above {_shown(column.maximum)}")
    if column.values:
        checks = checks.when(~value.isin(*column.values), f"not one of {_listed(column.values)}")
    if csv and column.type in ("id", "text"):
        checks = checks.when(F.contains(raw, F.lit(_REPLACEMENT)), "not UTF-8")
    if column.type == "id" and not isinstance(type_, T.IntegralType):
        checks = checks.when(F.octet_length(value) > _LONGEST_ID, f"longer than {_LONGEST_ID} bytes")
    if column.type == "decimal":
        scale = 10.0**column.decimals
        checks = checks.when(F.abs(value) * scale > _EXACT, "too large to be exact")
        value = F.rint(value * scale) / scale + 0.0  # + 0.0, lest a zero is negative
    return Parsed(value, checks)


def _limit(column: events.Column, limit: float | str) -> Column:
    if not isinstance(limit, str):
        return F.lit(limit)
    moment = datetime.fromisoformat(limit)
    return F.lit(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _shown(limit: float | str) -> str:
    return limit if isinstance(limit, str) else f"{limit:g}" if abs(limit) < 1e6 else f"{limit:.0f}"


def _listed(values: Sequence[str]) -> str:
    shown = ", ".join(values[:_SHOWN_VALUES])
    return f"{shown} and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else shown


def _double(raw: Column, type_: T.DataType) -> Column:
    # Spark itself would read 1d and 1f as numbers, as Java does.
    readable = raw.rlike(NUMBER) if isinstance(type_, T.StringType) else F.lit(True)
    return F.when(readable, raw.try_cast("double"))


def _integer(raw: Column, type_: T.DataType) -> Column:
    if isinstance(type_, T.IntegralType):
        return raw.cast("bigint")
    double = _double(raw, type_)
    whole = F.when((double == F.floor(double)) & (F.abs(double) <= _EXACT), double.try_cast("bigint"))
    return F.coalesce(raw.try_cast("bigint"), whole) if isinstance(type_, T.StringType) else whole


def _id(raw: Column, type_: T.DataType) -> Column:
    if isinstance(type_, T.IntegralType):
        return raw
    if isinstance(type_, T.FractionalType):
        raw = raw.try_cast("decimal(20,0)") if isinstance(type_, T.DecimalType) else _integer(raw, type_)
    return raw.cast("string")


def _timestamp(raw: Column, type_: T.DataType) -> Column:
    if isinstance(type_, T.StringType):
        return F.when(raw.rlike(TIME), raw.try_cast("timestamp"))
    return raw.cast("timestamp")


def _boolean(raw: Column, type_: T.DataType) -> Column:
    if isinstance(type_, T.BooleanType):
        return raw
    number = (
        F.when(F.lower(raw) == "true", 1.0).when(F.lower(raw) == "false", 0.0)
        if isinstance(type_, T.StringType)
        else F.lit(None)
    )
    number = F.coalesce(number, _double(raw, type_))
    return F.when(number == 1, True).when(number == 0, False)
