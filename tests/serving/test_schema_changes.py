"""What a change of the schema does to a server that runs: its reader of events, and its store.

The table in docs/schema-changes.md says the same in words.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlops.bundle import Schema
from mlops.errors import InputError
from mlops.features import FeatureSet, OneHot, Value
from mlops.schema import Column
from serving.events import EventReader
from tests.serving.example import ALL_IDS, EVENTS, FEATURES, NUMBERS, TEXTS, World, payment

DEVICE = Column(name="device", type="text", nullable=True, optional=True, values=("app", "web"))
WITH_DEVICE = FeatureSet((*FEATURES.features, OneHot(column="device", values=("app", "web"))))


def changed(*columns: Column, **fields: Any) -> Schema:
    """The events with these columns instead of those of the same names, or beside them."""
    new = {column.name: column for column in columns}
    kept = (new.pop(column.name, column) for column in EVENTS.columns)
    events = msgspec.structs.replace(EVENTS, columns=(*kept, *new.values()), **fields)
    return msgspec.structs.replace(NUMBERS, events=events)


def without(*names: str, **fields: Any) -> Schema:
    columns = tuple(column for column in EVENTS.columns if column.name not in names)
    return msgspec.structs.replace(NUMBERS, events=msgspec.structs.replace(EVENTS, columns=columns, **fields))


def column(name: str, **fields: Any) -> Column:
    return msgspec.structs.replace(EVENTS.column(name), **fields)


def test_a_field_that_the_schema_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="device: is not a field of an event; leave it out"):
        EventReader(NUMBERS).event(payment(1, device="app"))


def test_a_schema_may_ignore_fields_that_it_does_not_know() -> None:
    reader = EventReader(changed(unknown_fields="ignore"))
    assert reader.event(payment(1, device="app")) == reader.event(payment(1))


def test_a_value_that_is_not_listed_is_refused_as_validation_does() -> None:
    reader = EventReader(changed(DEVICE))
    assert reader.event(payment(1, device=" app ")).values["device"] == "app"
    with pytest.raises(InputError, match="device: 'fax' is not one of app, web"):
        reader.event(payment(1, device="fax"))


def test_a_removed_field_is_refused_or_ignored() -> None:
    with pytest.raises(InputError, match="note: is not a field"):
        EventReader(without("note")).event(payment(1, note="x"))
    assert "note" not in EventReader(without("note", unknown_fields="ignore")).event(payment(1)).values


def test_an_added_field_counts_from_the_swap_on_and_may_be_missing(world: World) -> None:
    with world.server() as server:
        before = server.post("/v1/score", payment(1)).body
        assert server.post("/v1/score", payment(2, device="app")).status == 422
        world.deploy("2", world.bundle("second", features=WITH_DEVICE, schema=changed(DEVICE)))
        server.wait_for("version", "2")
        for number, sent, told in (
            (3, {"device": "app"}, (1, 0)),
            (4, {}, (0, 0)),
            (5, {"device": None}, (0, 0)),
        ):
            features = server.post("/v1/score?features=true", payment(number, **sent)).body["features"]
            assert (features["device_is_app"], features["device_is_web"]) == told
        again = server.post("/v1/score", payment(1)).body  # sent again after the swap: the first answer
        assert again == before


def test_old_and_new_events_mix_while_a_removal_rolls_out(world: World) -> None:
    with world.server() as server:
        world.deploy("2", world.bundle("second", schema=without("note", unknown_fields="ignore")))
        server.wait_for("version", "2")
        assert server.post("/v1/score", payment(1, note="as before")).status == 200
        event = payment(2)
        del event["note"]
        assert server.post("/v1/score", event).status == 200


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (changed(column("amount", decimals=3)), "the store reads amount as the events do not have it"),
        (changed(column("items", type="decimal", decimals=1)), "the store reads items as"),
        (TEXTS, "the store's ids and keys are not those of the events"),
        (
            msgspec.structs.replace(NUMBERS, whole_number_ids=ALL_IDS[:2]),
            "the store's ids and keys are not those of the events",
        ),
    ],
    ids=["more decimals", "an integer with decimals", "all ids text", "one id text"],
)
def test_a_bundle_that_reads_the_stores_totals_otherwise_is_refused_until_the_store_is_filled_anew(
    world: World, schema: Schema, said: str
) -> None:
    with world.server() as server:
        assert server.post("/v1/score", payment(1)).status == 200
        world.deploy("2", world.bundle("second", schema=schema))
        assert said in server.wait_for("refused", ...)["reason"]
        assert server.post("/v1/score", payment(2)).body["version"] == "1"
    world.store = world.home / "store-2"
    with world.server() as server:
        server.wait_for("version", "2")
        assert server.post("/v1/score", payment(3)).status == 200


def test_a_type_that_only_the_model_reads_is_widened_by_the_swap(world: World) -> None:
    features = FeatureSet((*FEATURES.features, Value(column="weight", fallback=0.0)))
    schemas = [
        changed(Column(name="weight", type=type_, nullable=True, optional=True))
        for type_ in ("integer", "float")
    ]
    world.deploy("1", world.bundle("whole", features=features, schema=schemas[0]))
    with world.server() as server:
        assert server.post("/v1/score", payment(1, weight=1.5)).status == 422
        world.deploy("2", world.bundle("any", features=features, schema=schemas[1]))
        server.wait_for("version", "2")
        told = server.post("/v1/score?features=true", payment(2, weight=1.5)).body["features"]
        assert told["weight_filled"] == 1.5
