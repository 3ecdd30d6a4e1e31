"""Decisions and labels as rows of the archive, and back.

What an event holds is a struct with a field for each column of the schema, as far as it is of the column's type; the
rest, such as columns of an older schema, is JSON beside it, so that nothing is lost. Ids are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa

from mlops.records import Decision, Kind, LabelRecord
from mlops.schema import ColumnType, EventSchema, Label

__all__ = ["decision_of", "decision_row", "event_types", "label_of", "label_row", "moment", "schema_of"]

_MOMENT = pa.timestamp("us", tz="UTC")
_TYPES: dict[ColumnType, pa.DataType] = {
    "id": pa.string(),
    "timestamp": _MOMENT,
    "decimal": pa.float64(),
    "float": pa.float64(),
    "integer": pa.int64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
}
_EXACT = 2**53


def event_types(schema: EventSchema, label: Label) -> dict[str, ColumnType]:
    """The columns of an event that a server is sent, and their types."""
    return {c.name: c.type for c in schema.columns if c.name not in label.columns}


def schema_of(kind: Kind, types: Mapping[str, ColumnType]) -> pa.Schema:
    """The columns of the archive's files. Fields of an event without a column of their type are JSON in `rest`."""
    if kind == "labels":
        return pa.schema(
            [
                ("event_id", pa.string()),
                ("label", pa.float64()),
                ("known_at", _MOMENT),
                ("received_at", _MOMENT),
            ]
        )
    event = pa.struct([(name, _TYPES[type_]) for name, type_ in types.items()])
    return pa.schema(
        [
            ("decision_id", pa.string()),
            ("event_id", pa.string()),
            ("scored_at", _MOMENT),
            ("event", event),
            ("rest", pa.string()),
            ("features", pa.list_(pa.float64())),
            ("score", pa.float64()),
            *((name, pa.string()) for name in ("decision", "version", "bundle", "caller")),
            ("void", pa.bool_()),
        ]
    )


def decision_row(decision: Decision, types: Mapping[str, ColumnType]) -> dict[str, Any]:
    """A decision as a row of the archive."""
    event: dict[str, Any] = dict.fromkeys(types)
    rest = {}
    for name, value in decision.event.items():
        if value is not None:
            try:
                event[name] = _stored(types[name], value)
            except (KeyError, ValueError):
                rest[name] = value
    return {
        "decision_id": decision.decision_id,
        "event_id": str(decision.event_id),
        "scored_at": moment(decision.scored_at),
        "event": event,
        "rest": msgspec.json.encode(rest, order="sorted").decode() if rest else None,
        "features": list(map(float, decision.features)),
        "score": float(decision.score),
        "decision": decision.decision,
        "version": decision.version,
        "bundle": decision.bundle,
        "caller": decision.caller,
        "void": decision.void,
    }


def label_row(label: LabelRecord) -> dict[str, Any]:
    """A label as a row of the archive."""
    return {
        "event_id": str(label.event_id),
        "label": float(label.label),
        "known_at": moment(label.known_at),
        "received_at": moment(label.received_at),
    }


def decision_of(row: Mapping[str, Any]) -> Decision:
    """The decision that a row of the archive was; fields of the event that were null are missing."""
    event = {
        name: _text(value) if isinstance(value, datetime) else value
        for name, value in row["event"].items()
        if value is not None
    }
    if row["rest"] is not None:
        event |= msgspec.json.decode(row["rest"])
    plain = {name: row[name] for name in row if name not in ("event", "rest", "scored_at")}
    return Decision(event=event, scored_at=_text(row["scored_at"]), **plain)


def label_of(row: Mapping[str, Any]) -> LabelRecord:
    """The label that a row of the archive was."""
    times = {name: _text(row[name]) for name in ("known_at", "received_at")}
    return LabelRecord(event_id=row["event_id"], label=row["label"], **times)


def moment(text: str) -> datetime | None:
    """The moment that an ISO 8601 text says, in UTC if it has no offset; None if it is empty."""
    if not text:
        return None
    read = datetime.fromisoformat(text)
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def _stored(type_: ColumnType, value: Any) -> Any:
    """A value as the archive holds it.

    Raises:
        ValueError: it is of another type, or would not stay what it is.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if type_ == "id" and (isinstance(value, str) or (number and isinstance(value, int))):
        return str(value)
    if type_ == "timestamp" and isinstance(value, str) and value:
        return moment(value)
    if type_ in ("decimal", "float") and number and (isinstance(value, float) or abs(value) <= _EXACT):
        return float(value)
    if type_ == "integer" and number and isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if (type_ == "text" and isinstance(value, str)) or (type_ == "boolean" and isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r} is no {type_}")


def _text(value: datetime | None) -> str:
    return "" if value is None else value.isoformat()
