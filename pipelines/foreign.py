"""Values as foreign files write them, brought to the form that is read anyway: by Spark, and the same by Arrow.

Times become ISO 8601 or timestamps, words for true and false 1 and 0, 1.234,56 becomes 1234.56. What does not fit its
layout becomes null.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mlops import schema as events
from mlops.layout import MICROSECONDS, Layout, time_pattern

__all__ = ["arrow_form", "spark_form"]

_NUMBERS = ("decimal", "float", "integer")
_THOUSANDS = "[. '\u00a0\u202f]"
_COMMA_NUMBER = f"^[+-]?([0-9]{{1,3}}({_THOUSANDS}[0-9]{{3}})+|[0-9]+)(,[0-9]+)?$"
_WHOLE = "^[+-]?[0-9]{1,19}$"
_PLAIN = r"^[+-]?[0-9]{1,19}(\.[0-9]*)?$"
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_LATEST_US = 253_402_300_800_000_000  # the year 10000, in both directions


def spark_form(
    column: events.Column, raw: Column, type_: T.DataType, layout: Layout
) -> tuple[Column, T.DataType]:
    """The values of a column, trimmed if they are text, and their type, in the form that `parse` reads."""
    text = isinstance(type_, T.StringType)
    if column.type == "timestamp" and layout.counts_time and (text or isinstance(type_, T.NumericType)):
        return _spark_counted(raw, type_, layout), T.TimestampType()
    if column.type == "timestamp" and layout.time and not layout.counts_time and text:
        return _spark_time(raw, layout), type_
    if (
        column.type == "boolean"
        and (layout.true or layout.false)
        and (text or isinstance(type_, T.IntegralType))
    ):
        word = F.lower(raw.cast("string"))
        form = F.when(word.isin([w.lower() for w in layout.true]), "1")
        form = form.when(word.isin([w.lower() for w in layout.false]), "0")
        return form.otherwise(raw.cast("string")), T.StringType()
    if column.type in _NUMBERS and layout.decimal_comma and text:
        plain = F.regexp_replace(F.regexp_replace(raw, _THOUSANDS, ""), ",", ".")
        return F.when(raw.rlike(_COMMA_NUMBER), plain), type_
    return raw, type_


def arrow_form(column: events.Column, raw: pa.ChunkedArray, layout: Layout) -> pa.ChunkedArray:
    """The values of a column, text as trimmed strings, in the form that `canonical` reads."""
    text, whole = pa.types.is_string(raw.type), pa.types.is_integer(raw.type)
    number = whole or pa.types.is_floating(raw.type) or pa.types.is_decimal(raw.type)
    if column.type == "timestamp" and layout.counts_time and (text or number):
        return _arrow_counted(raw, layout)
    if column.type == "timestamp" and layout.time and not layout.counts_time and text:
        return _arrow_time(raw, layout)
    if column.type == "boolean" and (layout.true or layout.false) and (text or whole):
        words = raw.cast(pa.string())
        lower = pc.utf8_lower(words)
        for among, digit in ((layout.true, "1"), (layout.false, "0")):
            known = pc.is_in(lower, pa.array([word.lower() for word in among], pa.string()))
            words = pc.if_else(known, digit, words)
        return words
    if column.type in _NUMBERS and layout.decimal_comma and text:
        plain = pc.replace_substring(pc.replace_substring_regex(raw, _THOUSANDS, ""), ",", ".")
        return pc.if_else(pc.match_substring_regex(raw, _COMMA_NUMBER), plain, _null(pa.string()))
    return raw


def _null(type_: pa.DataType) -> pa.Scalar:
    return pa.scalar(None, type_)


def _limit(layout: Layout) -> float:
    """The largest number of units that is still a time."""
    return 9e18 if layout.time == "nanoseconds" else _LATEST_US / MICROSECONDS[layout.time]


def _spark_counted(raw: Column, type_: T.DataType, layout: Layout) -> Column:
    """Units since the origin as a timestamp, rounded down to microseconds where they are whole nanoseconds."""
    text = isinstance(type_, T.StringType)
    number = F.when(raw.rlike(_PLAIN), raw.try_cast("double")) if text else raw.cast("double")
    limit = _limit(layout)
    number = F.when(F.abs(number) <= limit, number)
    whole = F.when(raw.rlike(_WHOLE), raw.try_cast("bigint")) if text else raw.try_cast("bigint")
    if layout.time == "nanoseconds":
        thousands = F.call_function("div", whole - F.pmod(whole, F.lit(1000)), F.lit(1000))
        micros = F.when(number.isNotNull(), thousands)
    else:
        per_unit = MICROSECONDS[layout.time]
        scaled = F.rint(number * F.lit(float(per_unit))).cast("bigint")
        is_whole = F.lit(True) if isinstance(type_, T.IntegralType) else whole.cast("double") == number
        micros = F.when(number.isNotNull() & is_whole, F.try_multiply(whole, F.lit(per_unit))).otherwise(
            scaled
        )
    return F.timestamp_micros(micros + F.lit(layout.origin_us))


def _arrow_counted(raw: pa.ChunkedArray, layout: Layout) -> pa.ChunkedArray:
    if pa.types.is_string(raw.type):
        raw = pc.if_else(pc.match_substring_regex(raw, _PLAIN), raw, _null(pa.string()))
    number = raw.cast(pa.float64(), safe=pa.types.is_string(raw.type))
    limit = _limit(layout)
    near = pc.fill_null(pc.less_equal(pc.abs(number), limit), False)
    number = pc.if_else(near, number, _null(pa.float64()))
    raw = pc.if_else(near, raw, _null(raw.type))
    if pa.types.is_string(raw.type):
        whole = pc.if_else(pc.match_substring_regex(raw, _WHOLE), raw, _null(pa.string())).cast(pa.int64())
    else:
        whole = raw.cast(pa.int64(), safe=False)
    if layout.time == "nanoseconds":
        known = whole.is_valid().to_numpy()
        micros = pa.chunked_array([pa.array(whole.fill_null(0).to_numpy() // 1000, pa.int64(), mask=~known)])
    else:
        per_unit = MICROSECONDS[layout.time]
        scaled = pc.round(pc.multiply(number, float(per_unit)), round_mode="half_to_even").cast(pa.int64())
        is_whole = pc.fill_null(pc.equal(whole.cast(pa.float64(), safe=False), number), False)
        micros = pc.if_else(is_whole, pc.multiply(whole, per_unit), scaled)
    return pc.add(micros, layout.origin_us).cast(pa.timestamp("us"))


def _spark_time(raw: Column, layout: Layout) -> Column:
    """Times in the layout's pattern as ISO 8601."""
    pattern = time_pattern(layout.time)
    found = {
        name: F.regexp_extract(raw, pattern.regex, number)
        for number, name in enumerate(pattern.directives, 1)
    }

    def two(name: str) -> Column:
        return F.lpad(found[name], 2, "0") if name in found else F.lit("00")

    year, month, hour = found.get("Y"), two("m"), two("H")
    if year is None:  # as strptime: 69 to 99 are of the last century
        year = F.concat(F.when(found["y"].try_cast("int") < 69, "20").otherwise("19"), found["y"])
    if "b" in found:
        place = F.array_position(F.array(*map(F.lit, _MONTHS)), F.lower(found["b"]))
        month = F.lpad(place.cast("string"), 2, "0")
    if "p" in found:
        afternoon = F.when(F.lower(found["p"]) == "pm", 12).otherwise(0)
        hour = F.lpad((found["I"].try_cast("int") % 12 + afternoon).cast("string"), 2, "0")
    pieces = [year, F.lit("-"), month, F.lit("-"), two("d"), F.lit("T"), hour, F.lit(":"), two("M")]
    pieces += [F.lit(":"), two("S")]
    if "f" in found:
        pieces += [F.lit("."), found["f"]]
    if "z" in found:
        pieces += [found["z"]]
    return F.when(raw.rlike(pattern.regex), F.concat(*pieces))


def _arrow_time(raw: pa.ChunkedArray, layout: Layout) -> pa.ChunkedArray:
    pattern = time_pattern(layout.time)
    groups = pc.extract_regex(raw, pattern.named_regex)
    found = {name: pc.struct_field(groups, name) for name in pattern.directives}

    def two(name: str) -> pa.ChunkedArray | str:
        return pc.utf8_lpad(found[name], 2, "0") if name in found else "00"

    year, month, hour = found.get("Y"), two("m"), two("H")
    if year is None:
        recent = pc.less(found["y"].cast(pa.int64()), 69)
        year = pc.binary_join_element_wise(pc.if_else(recent, "20", "19"), found["y"], "")
    if "b" in found:
        place = pc.add(pc.index_in(pc.utf8_lower(found["b"]), pa.array(_MONTHS)), 1)
        month = pc.utf8_lpad(pc.fill_null(place, 0).cast(pa.string()), 2, "0")
    if "p" in found:
        afternoon = pc.if_else(pc.equal(pc.utf8_lower(found["p"]), "pm"), 12, 0)
        twelfth = found["I"].cast(pa.int64())
        twelfth = pc.if_else(pc.equal(twelfth, 12), 0, twelfth)
        hour = pc.utf8_lpad(pc.add(twelfth, afternoon).cast(pa.string()), 2, "0")
    pieces = [year, "-", month, "-", two("d"), "T", hour, ":", two("M"), ":", two("S")]
    if "f" in found:
        pieces += [".", found["f"]]
    if "z" in found:
        pieces += [found["z"]]
    return pc.binary_join_element_wise(*pieces, "")
