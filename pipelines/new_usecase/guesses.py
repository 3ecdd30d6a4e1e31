"""What each column of a file holds: a type in which the readers read all of it, and how the file writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlops.layout import Layout
from mlops.schema import Column, ColumnType
from pipelines.canonical import ARROW_TYPES, typed
from pipelines.parse import NUMBER, TIME

__all__ = ["EMPTY", "MARKS", "Guess", "guess_column", "has_decimal_commas", "missing_marks", "without"]

EMPTY = "empty"
_WORDS = (("yes", "no"), ("y", "n"), ("t", "f"))
_NATIVE = ({"0", "1"}, {"true", "false"})
MARKS = {"?", "NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-", "--", ".", "\\N", "#N/A"}
_MOST_DECIMALS = 4
_EXACT = 2.0**53
_WHOLE = r"^[+-]?(0|[1-9][0-9]{0,17})$"
_POINTLESS = r"^([+-]?[0-9]+)\.0+$"
_COMMA = r"^[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)(,[0-9]+)?$"
_DAYS = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_COUNTED = {"seconds": (1e8, 1e11), "milliseconds": (1e11, 1e14), "microseconds": (1e14, 1e17)}


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """What a column holds.

    Fields:
        type: the schema's, or `EMPTY`.
        values: [n] as the readers read them, null where blank.
        raw: [n] as they stand in the file.
        decimals: digits after the point.
        layout: what a layout must say so that the column is read.
        also: another way to read its times, if there is one.
    """

    header: str
    type: str
    values: pa.ChunkedArray
    raw: pa.ChunkedArray
    decimals: int = 0
    layout: Layout = Layout(name="")
    also: str = ""

    @property
    def blanks(self) -> int:
        """How many rows have no value."""
        return int(self.values.null_count)

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return int(pc.count_distinct(self.values).as_py())

    def as_text(self) -> Guess:
        """The same column, taken for nothing but text."""
        return Guess(header=self.header, type="text", values=self.raw.cast(pa.string()), raw=self.raw)


class _Column(msgspec.Struct, frozen=True):
    """A column to be read in one way or another. `different` are its different values."""

    header: str
    raw: pa.ChunkedArray
    different: pa.Array
    comma: bool

    def read(self, type_: ColumnType, decimals: int = 0, **layout: object) -> Guess | None:
        """The guess that it is of this type, None if the readers would not read all of it so."""
        how = Layout(name="", decimal_comma=self.comma, **layout)  # type: ignore[arg-type]
        raw = self.raw
        if type_ == "integer" and pa.types.is_string(raw.type):
            raw = pc.replace_substring_regex(raw, _POINTLESS, r"\1")
        try:
            values = typed(Column(name="x", type=type_, decimals=decimals), raw, how).cast(ARROW_TYPES[type_])
        except ValueError:  # pyarrow's own are of this kind
            return None
        return Guess(
            header=self.header, type=type_, values=values, raw=self.raw, decimals=decimals, layout=how
        )

    def all(self, pattern: str) -> bool:
        """Whether all its texts are such."""
        return bool(pc.all(pc.match_substring_regex(self.different, pattern)).as_py())


def guess_column(header: str, raw: pa.ChunkedArray, *, comma: bool, counted: bool = False) -> Guess:
    """What a column holds.

    Args:
        comma: numbers in text are written 1.234,56.
        counted: whole numbers may be times.
    """
    if raw.null_count == len(raw):
        return Guess(header=header, type=EMPTY, values=raw, raw=raw)
    column = _Column(header, raw, pc.unique(raw).drop_null(), comma)
    for found in _readings(column, counted):
        if found is not None:
            return found
    return Guess(header=header, type="text", values=raw.cast(pa.string()), raw=raw)


def has_decimal_commas(columns: Iterable[pa.ChunkedArray]) -> bool:
    """Whether a file writes numbers as 1.234,56: some have a comma, and none a point that is not of thousands."""
    commas = False
    for raw in columns:
        if not pa.types.is_string(raw.type) or raw.null_count == len(raw):
            continue
        column = _Column("", raw, pc.unique(raw).drop_null(), comma=False)
        if column.all(_COMMA):
            commas |= not column.all(NUMBER)
        elif column.all(NUMBER):
            return False
    return commas


def _readings(column: _Column, counted: bool) -> Iterator[Guess | None]:
    """Guesses, the likeliest first; None is one that was wrong."""
    type_ = column.raw.type
    if counted and (unit := _unit(column)):
        yield column.read("timestamp", time=unit)
    if pa.types.is_boolean(type_):
        yield column.read("boolean")
    elif pa.types.is_temporal(type_):
        yield column.read("timestamp")
    elif pa.types.is_string(type_):
        yield from _text_readings(column)
    else:
        if set(column.different.to_pylist()[:3]) == {0, 1}:
            yield column.read("boolean")
        if pa.types.is_integer(type_):
            yield column.read("integer")
        numbers = column.different.cast(pa.float64(), safe=False).to_numpy()
        yield from _number_readings(column, numbers)


def _text_readings(column: _Column) -> Iterator[Guess | None]:
    words = {text.lower() for text in column.different.slice(0, 5).to_pylist()}
    if len(column.different) <= 4:  # the same word may be there in several spellings
        if words in _NATIVE:
            yield column.read("boolean")
        for true, false in _WORDS:
            if words == {true, false}:
                yield column.read("boolean", true=(true,), false=(false,))
    if column.all(r"^[+-]?[0-9]+$"):
        # One that begins with 0 is a code, and no number: a postcode, a phone number.
        yield column.read("integer") if column.all(_WHOLE) else None
        return
    if column.all(_COMMA if column.comma else NUMBER):
        plain = column.different
        if column.comma:
            plain = pc.replace_substring(pc.replace_substring(plain, ".", ""), ",", ".")
        yield from _number_readings(column, plain.cast(pa.float64()).to_numpy())
        return
    yield _times(column)


def _number_readings(column: _Column, numbers: np.ndarray) -> Iterator[Guess | None]:
    numbers = numbers[np.isfinite(numbers)]
    whole = bool((numbers == np.floor(numbers)).all())
    if whole and column.raw.null_count:  # whole numbers with a gap are written as 12.0 by some
        yield column.read("integer")
    for decimals in range(1, _MOST_DECIMALS + 1):
        scaled = numbers * 10.0**decimals
        # Single precision has seven digits.
        near = 1e-6 if column.raw.type == pa.float32() else 1e-12
        if np.abs(scaled).max(initial=0) < _EXACT and np.allclose(
            scaled, np.rint(scaled), rtol=near, atol=near
        ):
            yield column.read("decimal", decimals)
    yield column.read("float")


def _times(column: _Column) -> Guess | None:
    if column.all(TIME):
        return column.read("timestamp")
    first = _Column(
        column.header, column.raw.drop_null().slice(0, 1), column.different.slice(0, 1), column.comma
    )
    patterns = [day + clock for day in _DAYS for clock in _CLOCKS]
    likely = [pattern for pattern in patterns if first.read("timestamp", time=pattern) is not None]
    fitting = [found for pattern in likely if (found := column.read("timestamp", time=pattern)) is not None]
    if not fitting:
        return None
    return msgspec.structs.replace(fitting[0], also=fitting[1].layout.time if len(fitting) > 1 else "")


def _unit(column: _Column) -> str:
    """In what a column of whole numbers may count time since 1970."""
    if pa.types.is_string(column.raw.type):
        if not column.all(_WHOLE):
            return ""
    elif not pa.types.is_integer(column.raw.type):
        return ""
    numbers = column.different.cast(pa.int64())
    least, most = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    fits = (name for name, (low, high) in _COUNTED.items() if low <= least and most < high)
    return next(fits, "")


def missing_marks(columns: Mapping[str, pa.ChunkedArray]) -> tuple[str, ...]:
    """Texts that stand for no value: those without which a column would be numbers, times or booleans."""
    found: set[str] = set()
    for header, raw in columns.items():
        if not pa.types.is_string(raw.type):
            continue
        marks = set(pc.unique(raw).to_pylist()) & MARKS
        if not marks or guess_column(header, raw, comma=False).type != "text":
            continue
        rest = without(raw, tuple(marks))
        if any(
            guess_column(header, rest, comma=comma).type not in ("text", EMPTY) for comma in (False, True)
        ):
            found |= marks
    return tuple(sorted(found))


def without(raw: pa.ChunkedArray, marks: Sequence[str]) -> pa.ChunkedArray:
    """Text in which these values are null."""
    if not marks or not pa.types.is_string(raw.type):
        return raw
    return pc.if_else(pc.is_in(raw, pa.array(marks)), pa.scalar(None, pa.string()), raw)
