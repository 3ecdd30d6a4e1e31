"""A bundle's event schema as JSON Schema (2020-12), with an example of each field: what a client may send.

It is as strict as `serving.events` where JSON Schema can say it. Times and their ranges it can only describe, and
text is limited in characters where the reader counts bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median_low
from typing import Any

from mlops.bundle import Bundle, Schema
from mlops.features import Value
from mlops.schema import Column
from serving.codes import MAX_ID_BYTES

__all__ = ["JsonSchema", "event_id_schema", "event_schema", "label_schema"]

JsonSchema = dict[str, Any]

_INT64 = 2**63
_MAX_TEXT = MAX_ID_BYTES - 3
_WHOLE = r"^ *(0|-?[1-9][0-9]{0,17}) *$"
_MOMENT = "2024-03-05T14:30:00Z"


def event_schema(bundle: Bundle) -> JsonSchema:
    """One event: its columns but the label, which are required, and what becomes of other fields.

    `x-event-id` and `x-event-time` name the columns that identify the event and hold its time.
    """
    schema = bundle.schema
    events, typical = schema.events, _typical(bundle)
    columns = [column for column in events.columns if column.name not in schema.label.columns]
    numbered = events.numbered and events.id not in schema.whole_number_ids
    refuses = events.unknown_fields == "refuse"
    properties = {
        column.name: _property(column, schema, place, typical)
        for place, column in enumerate(columns, start=1)
    }
    return {
        "type": "object",
        "description": "An event as it happened. "
        + (
            "A field that is not listed is refused." if refuses else "Fields that are not listed are ignored."
        ),
        "properties": properties,
        "required": [
            column.name
            for column in columns
            if not column.nullable and not (numbered and column.name == events.id)
        ],
        "additionalProperties": not refuses,
        "x-event-id": events.id,
        **({"x-event-time": events.time} if events.time else {}),
        "examples": [{name: described["examples"][0] for name, described in properties.items()}],
    }


def event_id_schema(schema: Schema) -> JsonSchema:
    """An event's id as it is answered."""
    whole = schema.events.id in schema.whole_number_ids
    return {"type": "integer" if whole else "string", "description": f"The event's `{schema.events.id}`."}


def label_schema(bundle: Bundle) -> JsonSchema:
    """One late label: the truth about an event, and when it was known."""
    schema = bundle.schema
    event_id = _property(schema.events.column(schema.events.id), schema, 1, {})
    truth: JsonSchema
    if schema.task == "classification":
        truth = {"type": "integer", "enum": [0, 1], "description": f"1: it is a {schema.label.positive}"}
        truth["examples"] = [1]
    else:
        truth = _property(schema.events.column(schema.label.column), schema, 1, {})
        truth["type"] = "integer" if truth["type"] == ["integer", "null"] else "number"
    known = {
        "type": "string",
        "format": "date-time",
        "description": "When it was known, in the time of events; UTC if it has no offset."
        + ("" if schema.events.time else " Now, if it is left out."),
        "examples": ["2024-03-12T14:30:00Z"],
    }
    properties = {"event_id": event_id, "label": truth, "known_at": known}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if schema.events.time else ["event_id", "label"],
        "additionalProperties": False,
        "examples": [{name: described["examples"][0] for name, described in properties.items()}],
    }


def _property(column: Column, schema: Schema, place: int, typical: Mapping[str, float]) -> JsonSchema:
    described = _LIMITS[column.type](column, schema)
    if column.nullable:
        described["type"] = [*_types(described), "null"]
        if "enum" in described:
            described["enum"] = [*described["enum"], None]
    text = "; ".join(part for part in (column.description, _rule(column, schema)) if part)
    if text:
        described["description"] = text
    if column.unit:
        described["x-unit"] = column.unit
    described["examples"] = [_example(column, schema, place, typical.get(column.name))]
    return described


def _types(described: JsonSchema) -> list[str]:
    types = described["type"]
    return types if isinstance(types, list) else [types]


def _id(column: Column, schema: Schema) -> JsonSchema:
    if column.name not in schema.whole_number_ids:
        numbers = {"minimum": -_INT64, "maximum": _INT64 - 1}
        return {"type": ["string", "integer"], **numbers, **_text(column, schema, alone=False)}
    limits = {"minimum": -_INT64, "maximum": _INT64 - 1}
    pattern = rf"^ *$|{_WHOLE}" if column.nullable else _WHOLE
    return {"type": ["integer", "string"], **limits, "pattern": pattern}


def _text(column: Column, schema: Schema, *, alone: bool = True) -> JsonSchema:
    described: JsonSchema = {"type": "string"} if alone else {}
    if column.values:
        return described | {"enum": [*column.values, *([""] if column.nullable else [])]}
    return described | {"maxLength": _MAX_TEXT, **({} if column.nullable else {"pattern": "[^ ]"})}


def _number(column: Column, schema: Schema) -> JsonSchema:
    described: JsonSchema = {"type": "integer" if column.type == "integer" else "number"}
    if column.type == "integer":
        described |= {"minimum": -_INT64, "maximum": _INT64 - 1}
    elif column.type == "decimal":
        described |= {"minimum": -(2**53) / 10**column.decimals, "maximum": 2**53 / 10**column.decimals}
    if column.minimum is not None:
        described["minimum"] = _plain(max(described.get("minimum", column.minimum), column.minimum))
    if column.maximum is not None:
        described["maximum"] = _plain(min(described.get("maximum", column.maximum), column.maximum))
    return described


_LIMITS: dict[str, Callable[[Column, Schema], JsonSchema]] = {
    "id": _id,
    "text": _text,
    "integer": _number,
    "decimal": _number,
    "float": _number,
    "boolean": lambda column, schema: {"type": "boolean"},
    "timestamp": lambda column, schema: {"type": "string", "format": "date-time"},
}


def _rule(column: Column, schema: Schema) -> str:
    """What of a column JSON Schema cannot say."""
    if column.type == "timestamp":
        low, high = column.minimum, column.maximum
        between = f", from {low} to {high}" if low is not None and high is not None else ""
        return f"ISO 8601, UTC if it has no offset{between}"
    if column.type == "decimal":
        return f"rounded to {column.decimals} digits after the point"
    if column.type == "id" and column.name in schema.whole_number_ids:
        return "a whole number, or one as text"
    if column.type in ("id", "text") and not column.values:
        return f"at most {_MAX_TEXT} bytes of UTF-8"
    return ""


def _example(column: Column, schema: Schema, place: int, typical: float | None) -> Any:
    """A value that the reader takes: what is typical of the training data, if a feature says so."""
    if column.type == "id":
        # An event that is tried must not be one that there is; a key may.
        number = 1000 * place + 1 + (9_000_000_000 if column.name == schema.events.id else 0)
        return (
            number
            if column.name in schema.whole_number_ids
            else f"{column.name.removesuffix('_id')}-{number}"
        )
    if column.type == "text":
        return column.values[0] if column.values else None if column.nullable else column.name
    if column.type == "boolean":
        return typical is not None and typical > 0.5
    if column.type == "timestamp":
        low, high = (str(at) if at else _MOMENT for at in (column.minimum, column.maximum))
        return _MOMENT if low[:10] < _MOMENT[:10] < high[:10] else f"{low[:10]}T00:00:00Z"
    low_number, high_number = (
        float("-inf") if column.minimum is None else float(column.minimum),
        float("inf") if column.maximum is None else float(column.maximum),
    )
    value = min(max(10.0 if typical is None else typical, low_number), high_number)
    if column.type == "integer":
        return int(value)
    return round(value, column.decimals) if column.type == "decimal" else float(f"{value:.6g}")


def _typical(bundle: Bundle) -> dict[str, float]:
    """Of each column that is a feature as it is: its middle value in the bundle's reference rows."""
    names = bundle.features.names
    return {
        feature.column: float(median_low([row[names.index(feature.names[0])] for row in bundle.reference]))
        for feature in bundle.features.features
        if isinstance(feature, Value) and bundle.reference
    }


def _plain(limit: Any) -> Any:
    return int(limit) if float(limit).is_integer() else float(limit)
