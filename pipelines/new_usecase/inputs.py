"""Which feature each column becomes, or why it becomes none."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlops.features import Calendar, Feature, Missing, OneHot, Value
from mlops.schema import Column, ColumnType
from pipelines.new_usecase.guesses import EMPTY, MARKS, Guess
from pipelines.new_usecase.roles import ID_NAME, is_unique

__all__ = ["Input", "column_of", "facts_of", "input_of"]

_MOST_VALUES = 30
_LONGEST = 60
_COVERED = 0.5  # of the rows; where less have one of the commonest values, these say little
_CODES = 10


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """What a column gives.

    Fields:
        features: none if it is left out.
        why: it is left out.
        decide: what a person must decide of its features.
    """

    features: tuple[Feature, ...] = ()
    why: str = ""
    decide: tuple[str, ...] = ()


def column_of(guess: Guess, name: str, *, nullable: bool, type_: ColumnType | None = None) -> Column:
    """The schema's column. Numbers that are never below 0 may not be, later on either.

    A header that says more than the name does is the description.
    """
    least = _range(guess)[0]
    return Column(
        name=name,
        type=type_ or guess.type,  # type: ignore[arg-type]  # of those that are left
        nullable=nullable,
        decimals=guess.decimals,
        minimum=0 if type_ is None and isinstance(least, int | float) and least >= 0 else None,
        description=guess.header if re.search(r"[^A-Za-z0-9_ .?-]", guess.header) else "",
    )


def _range(guess: Guess) -> tuple[object, object]:
    """The least and the largest value of numbers and times."""
    if guess.type not in ("integer", "decimal", "float", "timestamp"):
        return None, None
    found = pc.min_max(guess.values).as_py()
    return found["min"], found["max"]


def input_of(guess: Guess, name: str, time: str) -> Input:
    """What the column called `name` gives. `time` is how the events' times are written."""
    rows = len(guess.values)
    if guess.type == EMPTY:
        return Input(why="blank in all rows")
    if guess.distinct == 1 and not guess.blanks:
        return Input(why=f"{_shown(pc.unique(guess.values)[0].as_py())} in all rows")
    if not guess.header:
        return Input(why="it has no header")
    if guess.type in ("integer", "text") and is_unique(guess):
        if guess.type == "integer" and _counts_rows(guess):
            return Input(why="the number of the row")
        if guess.type == "text" or ID_NAME.search(name):
            return Input(why=f"another value in each of {rows:,} rows")
    if guess.type == "text":
        return _category(guess, name)
    if guess.type == "timestamp":
        if guess.layout.time != time and pa.types.is_string(guess.raw.type):
            return Input(
                why=f"a time that is written otherwise ({guess.layout.time or 'ISO 8601'}) than others"
            )
        return _times(guess, name)
    return _number(guess, name)


def _counts_rows(guess: Guess) -> bool:
    first = guess.values[0].as_py()
    return bool(first in (0, 1) and guess.values.to_numpy()[-1] == first + len(guess.values) - 1)


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _number(guess: Guess, name: str) -> Input:
    decide = []
    if guess.type == "integer" and 2 < guess.distinct <= _CODES:
        decide = [
            f"{name} has {guess.distinct} different whole numbers. If they are codes and no quantity, make the "
            'column type="text" and this a OneHot.'
        ]
    if not guess.blanks:
        return Input(features=(Value(column=name),), decide=tuple(decide))
    values = guess.values.drop_null().cast(pa.float64(), safe=False).to_numpy()
    middle = float(np.median(values))
    if guess.type == "boolean":
        middle = float(middle >= 0.5)
    features = Value(column=name, fallback=round(middle, guess.decimals or 6)), Missing(column=name)
    return Input(features=features, decide=tuple(decide))


def _category(guess: Guess, name: str) -> Input:
    counts = pc.value_counts(guess.values.drop_null()).to_pylist()
    counts.sort(key=lambda c: (-c["counts"], c["values"]))
    rows = len(guess.values)
    enough = max(3, rows // 200)
    common = [c for c in counts if c["counts"] >= enough and len(c["values"]) <= _LONGEST][:_MOST_VALUES]
    covered = sum(c["counts"] for c in common)
    if not common or covered < _COVERED * (rows - guess.blanks):
        return Input(why=f"text, {len(counts):,} different values")
    decide = []
    if rest := len(counts) - len(common):
        decide = [f"{rest:,} rarer values of {name} have no feature; they count as none of these."]
    if marks := MARKS & {c["values"] for c in common}:
        decide.append(f"is {min(marks)} no value? Then name it in the layout, as `missing`.")
    features: list[Feature] = [OneHot(column=name, values=tuple(c["values"] for c in common))]
    if guess.blanks:
        features.append(Missing(column=name))
    return Input(features=tuple(features), decide=tuple(decide))


def _times(guess: Guess, name: str) -> Input:
    moments = guess.values.drop_null()
    of_day = pc.any(pc.not_equal(moments, moments.cast(pa.date32()).cast(moments.type))).as_py()
    parts = ("year", "month", "weekday", "hour") if of_day else ("year", "month", "weekday")
    features: list[Feature] = [Calendar(part=part, column=name) for part in parts]  # type: ignore[arg-type]
    return Input(
        features=tuple(features),
        decide=(f"which parts of {name} can say anything? A year that has not been seen yet cannot.",),
    )


def facts_of(guess: Guess) -> str:
    """What was seen in a column, in a few words."""
    rows, distinct = len(guess.values), guess.distinct
    least, most = _range(guess)
    if guess.type == "boolean":
        said = f"true in {pc.sum(guess.values).as_py():,} of {rows:,} rows"
    elif guess.type == "text":
        said = f"{distinct:,} different values"
    elif guess.type == "timestamp":
        said = f"{least} to {most}".replace(" 00:00:00", "")
    else:
        said = f"{least:.6g} to {most:.6g}"
    return f"{said}; blank in {guess.blanks:,} of {rows:,}" if guess.blanks else said
