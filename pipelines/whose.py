"""Whose data, as a command is told it: COLUMN=VALUE, where the value is one that the column can hold."""

from __future__ import annotations

from mlops.bundle import Schema
from mlops.errors import ConfigError

__all__ = ["key_value", "whose"]


def whose(key: str) -> tuple[str, str]:
    """The column and the value in `customer_id=42`.

    Raises:
        ConfigError: it is no column and value, or the value is empty.
    """
    column, equals, text = key.partition("=")
    if not equals:
        raise ConfigError(f"{key!r} is not a column and a value", where="--key", todo="as in customer_id=42")
    if not text:
        raise ConfigError(f"no value of {column}", where="--key", todo=f"as in {column}=42")
    return column, text


def key_value(column: str, text: str, schema: Schema) -> int | str:
    """A value of a column as the online store has it: whole numbers, also ids that are some, as numbers.

    Raises:
        ConfigError: the column cannot hold it.
    """
    type_ = schema.events.column(column).type
    if column not in schema.whole_number_ids and type_ in ("id", "text"):
        return text
    try:
        return {"true": 1, "false": 0}[text] if type_ == "boolean" else int(text)
    except (KeyError, ValueError):
        kind = "true or false" if type_ == "boolean" else "whole numbers"
        raise ConfigError(f"{text!r} is no value of {column}, which holds {kind}", where="--key") from None
