"""Whatever JSON comes, it is an event that can be kept and read again, or an error that names the field."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.bundle import Schema
from mlops.contract import load_use_case
from mlops.errors import InputError
from mlops.records import LabelRecord
from mlops.schema import Column
from serving.codes import encode_id
from serving.entries import EntryEncoder
from serving.events import Event, EventReader, time_us
from serving.members import decode_json
from serving.plan import StorePlan
from tests.serving.example import EVENTS, FEATURES, NUMBERS, TEXTS

FRAUD, TUMOURS = load_use_case("usecases.fraud"), load_use_case("usecases.breast_cancer")
IGNORING = msgspec.structs.replace(EVENTS, unknown_fields="ignore")
SCHEMAS = {
    "whole-number ids": (NUMBERS, FEATURES),
    "text ids": (TEXTS, FEATURES),
    "unknown fields ignored": (Schema(events=IGNORING, label=NUMBERS.label), FEATURES),
    "fraud": (
        Schema(
            events=FRAUD.events,
            label=FRAUD.label,
            whole_number_ids=("transaction_id", "customer_id", "terminal_id"),
        ),
        FRAUD.features,
    ),
    "numbered, without a time": (Schema(events=TUMOURS.events, label=TUMOURS.label), TUMOURS.features),
}
CASES, MORE_CASES = 200, 1_800
"""Of each schema, in events and in labels each as many as said; five schemas make 10,000 events of both together."""

NUMBER = (
    st.integers()
    | st.floats()
    | st.sampled_from([-0.0, 1e308, 5e-324, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 0.005, 1e15 + 0.3])
)
TEXT = st.text(max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "x" * 300,
        "007",
        "-0",
        "+1",
        " 12 ",
        "1e3",
        "\ud800",
        "٣",
        "null",
        "true",
        "NaN",
        "9" * 19,
    ]
)
MOMENT = (
    st.datetimes().map(lambda moment: moment.isoformat())
    | st.builds(
        lambda moment, rest: f"{moment.isoformat()}{rest}",
        st.datetimes(),
        st.sampled_from(["Z", "+14:00", "-23:59", "+24:00", "+01:00:30.5", " ", "z", "[UTC]"]),
    )
    | st.sampled_from(
        [
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.999999-23:59",
            "2024-02-30T00:00",
            "2024-W01-1T00:00:00",
            "20240101T000000",
            "2024-01-01T24:00:00",
            "2024-01-01T23:59:60",
            "2024-01-01",
            "2024-01-01T00:00:00,5",
        ]
    )
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT | MOMENT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
WIDE: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 99).map(str) | TEXT,
    "timestamp": MOMENT,
    "decimal": NUMBER,
    "float": NUMBER,
    "integer": NUMBER,
    "text": TEXT,
    "boolean": st.booleans() | TEXT,
}
"""What is of a column's kind, and fits or just does not."""


def fitting(column: Column) -> st.SearchStrategy[Any]:
    """What fits a column."""
    low = column.minimum if isinstance(column.minimum, float | int) else None
    high = column.maximum if isinstance(column.maximum, float | int) else None
    fits: dict[str, st.SearchStrategy[Any]] = {
        "id": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 99) | st.integers(1, 99).map(str),
        "timestamp": st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(datetime.isoformat),
        "decimal": st.floats(low if low is not None else -1e9, high if high is not None else 1e9),
        "float": st.floats(low, high, allow_nan=False, allow_infinity=False),
        "integer": st.integers(int(low or -(2**63)), int(high or 2**63 - 1)),
        "text": st.sampled_from(column.values) if column.values else st.sampled_from("aé \U0001f600\0"),
        "boolean": st.booleans(),
    }
    return (st.none() | fits[column.type]) if column.nullable else fits[column.type]


@st.composite
def objects(draw: st.DrawFn, schema: Schema) -> Any:
    """JSON of the shape of an event: what fits, but for some fields that may not, or are missing, or are no columns."""
    if draw(st.integers(0, 19)) == 0:
        return draw(ANYTHING)
    columns = {c.name: c for c in schema.events.columns if c.name not in schema.label.columns}
    event = {name: draw(fitting(column)) for name, column in columns.items()}
    for name in draw(st.lists(st.sampled_from(list(columns)), max_size=2)):
        event[name] = draw(WIDE[columns[name].type] | WIDE[columns[name].type] | ANYTHING)
        if draw(st.integers(0, 4)) == 0:
            del event[name]
    if draw(st.integers(0, 9)) == 0:
        event |= draw(st.dictionaries(TEXT | st.just(schema.label.column), ANYTHING, max_size=2))
    return event


def labels() -> st.SearchStrategy[Any]:
    """JSON of the shape of a label."""
    fields = {
        "event_id": st.integers(0, 99) | WIDE["id"] | ANYTHING,
        "label": st.integers(0, 1) | NUMBER | ANYTHING,
        "known_at": st.just("2024-05-01T12:00:00") | MOMENT | ANYTHING,
    }
    whole = st.fixed_dictionaries(fields)
    return whole | st.fixed_dictionaries({}, optional=fields | {"by": ANYTHING}) | ANYTHING


def sent(raw: Any) -> Any:
    """What a server makes of it as a body: NaN and infinities are written as such."""
    return decode_json(json.dumps(raw).encode())


def check_event(name: str, raw: Any) -> None:
    schema, features = SCHEMAS[name]
    reader, events = EventReader(schema), schema.events
    try:
        event = reader.event(sent(raw))
    except InputError as error:
        names_a_field(error, raw, {c.name for c in events.columns})
        return
    known = [c for c in events.columns if c.name not in schema.label.columns]
    assert list(event.values) == [c.name for c in known]
    assert all(event.values[c.name] is not None for c in known if not c.nullable)
    assert all(math.isfinite(value) for value in event.values.values() if isinstance(value, float))
    assert type(event.id) is (int if events.id in schema.whole_number_ids else str)
    if events.time:
        assert time_us(event.values[events.time]) == event.time_us
    kept = msgspec.json.decode(msgspec.json.encode(event.values))  # as the decision log keeps it
    assert kept == event.values
    again = reader.event(kept)
    assert again == (event if events.time else Event(event.id, again.time_us, event.values))
    entry = EntryEncoder(StorePlan.of(features, schema))(event.id, event.time_us, event.values)
    assert entry.id == encode_id(event.id)


def check_label(name: str, raw: Any) -> None:
    reader = EventReader(SCHEMAS[name][0])
    try:
        label = reader.label(sent(raw))
    except InputError as error:
        names_a_field(error, raw, {"event_id", "label", "known_at"})
        return
    assert label.label in (0, 1) and time_us(label.known_at) is not None
    assert msgspec.json.decode(msgspec.json.encode(label), type=LabelRecord) == label
    sent_again = {"event_id": label.event_id, "label": label.label, "known_at": label.known_at}
    assert reader.label(sent_again) == label


def names_a_field(error: InputError, raw: Any, columns: set[str]) -> None:
    if not isinstance(raw, dict):
        assert error.where is None and "must be an object" in error.what
        return
    assert error.where is not None
    assert error.where in columns | {key[:80] for key in raw}
    assert error.what and "\n" not in error.what and len(error.line()) < 500


QUICK = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=MORE_CASES)


@pytest.mark.parametrize("name", SCHEMAS)
@QUICK
@given(data=st.data())
def test_an_event_is_read_or_its_field_is_named(name: str, data: st.DataObject) -> None:
    check_event(name, data.draw(objects(SCHEMAS[name][0])))


@pytest.mark.parametrize("name", SCHEMAS)
@QUICK
@given(data=st.data())
def test_a_label_is_read_or_its_field_is_named(name: str, data: st.DataObject) -> None:
    check_label(name, data.draw(labels()))


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCHEMAS)
@LONG
@given(data=st.data())
def test_of_thousands_of_events_each_is_read_or_its_field_is_named(name: str, data: st.DataObject) -> None:
    check_event(name, data.draw(objects(SCHEMAS[name][0])))


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCHEMAS)
@LONG
@given(data=st.data())
def test_of_thousands_of_labels_each_is_read_or_its_field_is_named(name: str, data: st.DataObject) -> None:
    check_label(name, data.draw(labels()))


@settings(max_examples=1_000, deadline=None)
@given(body=st.binary(max_size=40) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_json_or_an_input_error(body: bytes) -> None:
    try:
        decode_json(body)
    except InputError as error:
        assert "not JSON" in error.what
