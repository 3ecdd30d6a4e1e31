"""Raw JSON, checked against the bundle's schema before anything else is done with it."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mlops.bundle import Schema
from mlops.errors import InputError
from mlops.records import LabelRecord
from mlops.schema import Column
from serving.codes import MAX_ID_BYTES, encode_id

__all__ = ["Event", "EventReader", "time_text", "time_us"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = 2**53
"""Up to here a double holds every whole number."""
_INT64 = 2**63
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")

Check = Callable[[Any], Any]


class Event(msgspec.Struct, frozen=True):
    """An event that fits the schema: its id, its time in microseconds, and all canonical columns but the label.

    In `values` the event time is ISO 8601 in UTC. Where events have no time, it is when this one was read. `at` goes
    before the name of a field that does not fit: `[3].` in a list.
    """

    id: int | str
    time_us: int
    values: dict[str, Any]
    at: str = ""


def time_us(text: Any) -> int:
    """Microseconds since 1970 of an ISO 8601 date and time, in UTC if it has no offset.

    Raises:
        ValueError: it is none.
    """
    if type(text) is not str:
        raise ValueError(f"must be an ISO 8601 date and time, not {_kind(text)}")
    try:
        moment = datetime.fromisoformat(text)
        if len(text) < 16:
            raise ValueError
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not an ISO 8601 date and time") from None


def time_text(microseconds: int) -> str:
    """ISO 8601, in UTC.

    Raises:
        ValueError: not in the years 1 to 9999.
    """
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


class EventReader:
    """Reads events and labels that fit one schema.

    It reads as validation reads tables: spaces around text are dropped, empty text is null, decimals are rounded to
    their digits, and an id may be written as a number or as text.

    An event that comes without an id gets one, if the schema's events are numbered and ids are text. Every error is an
    `InputError` whose `where` is the field. `id` and `time` are the names of those columns; time may be none.
    `numbered` says that the id may be left out.
    """

    def __init__(self, schema: Schema) -> None:
        self.id, self.time = schema.events.id, schema.events.time
        columns = [c for c in schema.events.columns if c.name not in schema.label.columns]
        self._columns = [(c.name, c.nullable, _check(c, schema)) for c in columns]
        self._names = {c.name for c in columns}
        self._refuses_unknown = schema.events.unknown_fields == "refuse"
        self.numbered = schema.events.numbered and self.id not in schema.whole_number_ids
        self._check_id = _check(schema.events.column(self.id), schema)
        self._check_label = _label_check(schema)
        if not self.time:
            return
        moment = schema.events.column(self.time)
        self._low = -math.inf if moment.minimum is None else time_us(f"{moment.minimum}T00:00")
        self._high = math.inf if moment.maximum is None else time_us(f"{moment.maximum}T00:00")
        self._range = f"must be between {moment.minimum} and {moment.maximum}"

    def event(self, raw: Any, at: str = "") -> Event:
        """The event in a decoded JSON object. `at` is put before the name of a field that does not fit."""
        if type(raw) is not dict:
            raise InputError(f"must be an object with the event's fields, not {_kind(raw)}", where=at or None)
        values: dict[str, Any] = {}
        moment = 0 if self.time else _now_us()
        for name, nullable, check in self._columns:
            value = raw.get(name)
            try:
                if name == self.time and value is not None:
                    moment = time_us(value)
                    if not self._low <= moment <= self._high:
                        raise ValueError(self._range)
                    value = time_text(moment)
                elif value is not None:
                    value = check(value)
                if value is None and name == self.id and self.numbered:
                    value = uuid.uuid4().hex
                if value is None and not nullable:
                    raise ValueError("is empty" if name in raw else "is missing")
                values[name] = value
            except ValueError as error:
                raise InputError(str(error), where=f"{at}{name}") from None
        if self._refuses_unknown and not raw.keys() <= self._names:
            unknown = min(raw.keys() - self._names)
            raise InputError("is not a field of an event", where=f"{at}{unknown[:80]}", todo="leave it out")
        return Event(values[self.id], moment, values, at)

    def label(self, raw: Any, at: str = "") -> LabelRecord:
        """The label in a decoded JSON object. Where events have no time, it may leave out when it was known: now."""
        if type(raw) is not dict:
            raise InputError(f"must be an object with a label's fields, not {_kind(raw)}", where=at or None)
        field = ""
        try:
            for field in ("event_id", "label", "known_at") if self.time else ("event_id", "label"):
                if raw.get(field) is None:
                    raise ValueError("is empty" if field in raw else "is missing")
            if unknown := raw.keys() - {"event_id", "label", "known_at"}:
                field = min(unknown)[:80]
                raise ValueError("is not a field of a label")
            field = "label"
            label = self._check_label(raw["label"])
            field = "event_id"
            event_id = self._check_id(raw["event_id"])
            if event_id is None:
                raise ValueError("is empty")
            field = "known_at"
            known_us = time_us(raw["known_at"]) if raw.get("known_at") is not None else _now_us()
            known_at = time_text(known_us)
        except ValueError as error:
            raise InputError(str(error), where=f"{at}{field}") from None
        return LabelRecord(event_id=event_id, label=label, known_at=known_at)


def _now_us() -> int:
    return time.time_ns() // 1000


def _label_check(schema: Schema) -> Check:
    return _class if schema.task == "classification" else _number(schema.events.column(schema.label.column))


def _class(value: Any) -> int:
    if type(value) is not int or value not in (0, 1):
        raise ValueError(f"must be 0 or 1, not {_kind(value)}")
    return value


def _check(column: Column, schema: Schema) -> Check:
    """What turns a column's JSON value into ours, or raises ValueError with what is wrong."""
    if column.type == "id":
        return _whole_number_id if column.name in schema.whole_number_ids else _text_id
    if column.type == "text":
        return _one_of(column.values) if column.values else _text
    if column.type == "boolean":
        return _boolean
    if column.type == "timestamp":
        return _timestamp
    return _number(column)


def _whole_number_id(value: Any) -> int | None:
    if type(value) is str:
        value = value.strip(" ")
        if not value:
            return None
        if not _WHOLE.fullmatch(value):
            raise ValueError(
                f"{value[:40]!r} is not a whole number, as the ids are that the model was made with"
            )
        value = int(value)
    if type(value) is not int:
        raise ValueError(f"must be a whole number, not {_kind(value)}")
    if not -_INT64 <= value < _INT64:
        raise ValueError("is beyond 64 bits")
    return value


def _text_id(value: Any) -> str | None:
    return _text(str(value) if type(value) is int and -_INT64 <= value < _INT64 else value)


def _text(value: Any) -> str | None:
    if type(value) is not str:
        raise ValueError(f"must be text, not {_kind(value)}")
    value = value.strip(" ")
    try:
        if len(encode_id(value)) > MAX_ID_BYTES:
            raise ValueError(f"is longer than {MAX_ID_BYTES - 3} bytes")
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return value or None


def _one_of(values: Sequence[str]) -> Check:
    known = frozenset(values)

    def check(value: Any) -> str | None:
        text = _text(value)
        if text is not None and text not in known:
            raise ValueError(f"{text[:40]!r} is not one of {', '.join(values)}"[:200])
        return text

    return check


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"must be true or false, not {_kind(value)}")
    return value


def _timestamp(value: Any) -> str:
    return time_text(time_us(value))


def _number(column: Column) -> Check:
    whole, exact, scale = column.type == "integer", column.type == "decimal", 10**column.decimals
    low = -math.inf if column.minimum is None else float(column.minimum)
    high = math.inf if column.maximum is None else float(column.maximum)

    def check(value: Any) -> int | float:
        if type(value) is not float and type(value) is not int:
            raise ValueError(f"must be a number, not {_kind(value)}")
        if whole and type(value) is not int:
            raise ValueError(f"{value!r} is not a whole number")
        if not -math.inf < value < math.inf:
            raise ValueError(f"{value!r} is not a finite number")
        if not low <= value <= high:
            raise ValueError(f"{value!r} is not between {low:.12g} and {high:.12g}"[:200])
        if whole:
            if not -_INT64 <= value < _INT64:
                raise ValueError("is beyond 64 bits")
            return value
        if exact:
            if abs(value) * scale > _EXACT:
                raise ValueError("is too large to be exact")
            return float(round(value * scale) / scale)
        try:
            return float(value)
        except OverflowError:
            raise ValueError("is beyond double precision") from None

    return check


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {str: "text", bool: "true or false", dict: "an object", list: "a list"}
    return names.get(type(value)) or repr(value)[:40]
