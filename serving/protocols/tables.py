"""Tables as data frames and platforms write them: by rows, by columns, split into names and cells, or as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from mlops.bundle import Schema
from mlops.errors import InputError
from serving.protocols.core import Row, check_count, from_table
from serving.scoring_routes import MAX_ROWS

__all__ = ["from_columns", "from_csv", "from_rows", "from_split"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
_DIGITS = re.compile(r"[+-]?\d{1,19}", re.ASCII)


def from_rows(schema: Schema, raw: Any, at: str) -> list[Row]:
    """A list of rows, each an object or a list.

    Args:
        at: the member that held it, for what is said of it.

    Raises:
        InputError: it is no list.
    """
    if type(raw) is not list:
        raise InputError("must be a list with a row each", where=at)
    check_count(len(raw))
    return from_table(schema, raw) if all(type(row) is dict for row in raw) else list(raw)


def from_split(schema: Schema, raw: Any, at: str) -> list[Row]:
    """An object of `columns` and `data`; an `index` says nothing here. Columns that are only numbered have no names.

    Raises:
        InputError: it is not one, or a row has not as many cells as there are columns.
    """
    if type(raw) is not dict or type(raw.get("data")) is not list:
        raise InputError("must be an object with columns and data", where=at)
    columns, data = raw.get("columns"), raw["data"]
    if columns is None or (type(columns) is list and columns == list(range(len(columns)))):
        return from_rows(schema, data, f"{at}.data")
    if type(columns) is not list:
        raise InputError("must be a list of names", where=f"{at}.columns")
    check_count(len(data))
    return _named(schema, columns, data, at)


def from_columns(schema: Schema, raw: Any, at: str) -> list[Row]:
    """An object that has for each name the list of its values: a value a row, or a list of that one value.

    Raises:
        InputError: it is not one, or its lists differ in length.
    """
    if type(raw) is not dict:
        raise InputError("must be an object with a list for each name", where=at)
    lists = []
    for name, values in raw.items():
        if type(values) is not list:
            raise InputError("must be a list with a value for each row", where=f"{at}.{name[:80]}")
        check_count(len(values))
        lists.append([v[0] if type(v) is list and len(v) == 1 else v for v in values])
        if len(values) != len(lists[0]):
            raise InputError(
                f"has {len(values)} values, and those before it {len(lists[0])}", where=f"{at}.{name[:80]}"
            )
    return from_table(schema, [dict(zip(raw, row, strict=True)) for row in zip(*lists, strict=True)])


def from_csv(schema: Schema, features: Sequence[str], body: bytes, header: bool | None = None) -> list[Row]:
    """Lines of comma-separated values (RFC 4180): the first one names the columns, unless it is all numbers.

    Without names the cells are features in the model's order. With names, a cell of a text column is text, and of any
    other column what it says: a number, true or false, or nothing.

    Args:
        features: the model's.
        header: whether there are names, where that was declared.

    Raises:
        InputError: not UTF-8, a quotation mark without its other, lines of different length, or no name that is known.
    """
    try:
        text = body.decode("utf-8-sig")
        filled = (line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line)
        lines = list(islice(filled, MAX_ROWS + 2))  # one may be of names, and one too many is told
    except UnicodeDecodeError:
        raise InputError("the body is not UTF-8") from None
    except csv.Error as error:
        raise InputError(f"the body is not CSV: {error}") from None
    if header is None:
        header = bool(lines) and not all(_NUMBER.fullmatch(cell.strip()) for cell in lines[0])
    check_count(len(lines) - header)
    if not header:
        return [[_value(cell) for cell in line] for line in lines]
    if not lines:
        return []
    names, rows = [name.strip() for name in lines[0]], lines[1:]
    if "" in names:
        raise InputError(
            f"column {names.index('') + 1} has no name", todo="write the table without its index"
        )
    if not {*features, *(column.name for column in schema.events.columns)} & set(names):
        raise InputError("the first line names no column of an event, and no feature")
    texts = {c.name for c in schema.events.columns if c.type in ("id", "text", "timestamp")}
    read = [_text if name in texts else _value for name in names]
    cells = [[read[n](cell) if n < len(read) else cell for n, cell in enumerate(line)] for line in rows]
    return _named(schema, names, cells, "")


def _named(schema: Schema, names: Sequence[Any], data: Sequence[Any], at: str) -> list[Row]:
    known: set[str] = set()
    for name in names:
        if type(name) is not str or name in known:
            problem = "comes twice" if type(name) is str else "is no name"
            raise InputError(f"{str(name)[:80]!r} {problem}", where=f"{at}.columns" if at else None)
        known.add(name)
    for place, row in enumerate(data):
        if type(row) is not list or len(row) != len(names):
            found = f"{len(row)} cells" if type(row) is list else "no list"
            where = f"{at}.data[{place}]" if at else f"[{place}]"
            raise InputError(f"must have a cell for each of {len(names)} columns, not {found}", where=where)
    return from_table(schema, [dict(zip(names, row, strict=True)) for row in data])


def _text(cell: str) -> str | None:
    return cell or None


def _value(cell: str) -> Any:
    """What a cell says; as text, where that is nothing known: whoever reads the field then says what it must be."""
    cell = cell.strip()
    if not cell:
        return None
    if _DIGITS.fullmatch(cell):
        return int(cell)
    if _NUMBER.fullmatch(cell):
        return float(cell)
    return {"true": True, "false": False}.get(cell.lower(), cell)
