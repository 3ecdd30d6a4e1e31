"""Events without times, keys and windows, with ids or without; classes without decisions, and quantities."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.bundle import Schema, open_bundle
from mlops.errors import ConflictError, InputError
from mlops.features import FeatureSet, Value
from mlops.records import read_decisions, read_labels
from mlops.schema import Column, EventSchema, Label
from mlops.signing import PUBLIC_KEY
from serving.decisions import AppendLog
from serving.events import EventReader
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.scorer import Scorer
from serving.service import Service
from tests.serving.example import World

FEATURES = FeatureSet((Value(column="area"), Value(column="rooms")))
COLUMNS = (
    Column(name="flat", type="id"),
    Column(name="area", type="float", minimum=0),
    Column(name="rooms", type="integer"),
    Column(name="rent", type="decimal", decimals=2, minimum=0, nullable=True),
    Column(name="let", type="boolean", nullable=True),
)
FLATS = EventSchema(id="flat", numbered=True, columns=COLUMNS)
RENT = Schema(events=FLATS, label=Label(column="rent"))
LET = Schema(events=FLATS, label=Label(column="let"))
FLAT = {"flat": "a", "area": 50.5, "rooms": 2}


def served(folder: Path, schema: Schema) -> Service:
    """A service of a model without thresholds."""
    world = World(folder)
    path, _ = world.bundle(features=FEATURES, schema=schema, decisions=None)
    bundle = open_bundle(path, public_key=world.keys / PUBLIC_KEY)
    plan = StorePlan.of(FEATURES, schema)
    logs = AppendLog(world.decisions, "decisions"), AppendLog(world.decisions, "labels")
    return Service(InMemoryStore(plan), Scorer(bundle, "7", plan), *logs)


def score(service: Service, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    reader = service.scorer.reader
    return [msgspec.json.decode(answer) for answer in service.score([reader.event(row) for row in rows])]


@pytest.mark.parametrize(("schema", "said"), [(RENT, "prediction"), (LET, "score")])
def test_the_answer_has_what_there_is(tmp_path: Path, schema: Schema, said: str) -> None:
    row = {**FLAT, "let": True} if schema is RENT else {**FLAT, "rent": 500}
    (answer,) = score(served(tmp_path, schema), row)
    assert set(answer) == {"event_id", "decision_id", said, "model", "version", "features"}
    (logged,) = read_decisions(tmp_path / "decisions")
    assert (logged.score, logged.decision, logged.event["flat"]) == (answer[said], None, "a")


def test_a_repeated_id_gets_its_answer_and_another_event_under_it_is_refused(tmp_path: Path) -> None:
    service = served(tmp_path, RENT)
    first = score(service, FLAT | {"let": None})
    assert score(service, FLAT | {"let": None}) == first
    with pytest.raises(ConflictError, match="another event came before"):
        score(service, FLAT | {"area": 51.0, "let": None})


def test_an_event_without_an_id_is_given_one_of_its_own(tmp_path: Path) -> None:
    service = served(tmp_path, RENT)
    bare = {"area": 50.5, "rooms": 2, "let": None}
    ids = {answer["event_id"] for answer in score(service, bare, bare, {**bare, "flat": " "})}
    assert len(ids) == 3 and all(len(id_) == 32 for id_ in ids)


def test_an_id_is_asked_for_where_ids_are_numbers_or_come_with_the_events() -> None:
    numbers = EventReader(Schema(events=FLATS, label=RENT.label, whole_number_ids=("flat",)))
    own = EventReader(Schema(events=msgspec.structs.replace(FLATS, numbered=False), label=RENT.label))
    for reader in (numbers, own):
        with pytest.raises(InputError, match="flat: is missing"):
            reader.event({"area": 50.5, "rooms": 2})


def test_an_event_without_a_time_is_of_the_moment() -> None:
    before = time.time_ns() // 1000
    event = EventReader(RENT).event(FLAT)
    assert before <= event.time_us <= time.time_ns() // 1000


def test_labels_are_quantities_and_known_when_they_come(tmp_path: Path) -> None:
    service = served(tmp_path, RENT)
    score(service, FLAT | {"let": None})
    read = service.scorer.reader.label
    labels = [read({"event_id": "a", "label": 512.345}), read({"event_id": "b", "label": 700})]
    assert service.label(labels) == ["b"]
    logged = list(read_labels(tmp_path / "decisions"))
    assert [record.label for record in logged] == [512.34, 700]
    assert all(record.known_at.startswith("20") for record in logged)
    told = read({"event_id": "a", "label": 1, "known_at": "2018-04-01T00:00:00"})
    assert told.known_at == "2018-04-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("schema", "label", "said"),
    [
        (RENT, -1, "is not between 0"),
        (RENT, "500", "must be a number"),
        (RENT, True, "must be a number"),
        (LET, 0.5, "must be 0 or 1"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(schema: Schema, label: object, said: str) -> None:
    with pytest.raises(InputError, match=f"label: .*{said}"):
        EventReader(schema).label({"event_id": "a", "label": label})


def test_what_was_logged_but_not_committed_is_recovered(tmp_path: Path) -> None:
    first = score(served(tmp_path, RENT), FLAT | {"let": None})
    again = served(tmp_path, RENT)
    assert again.recover(list(read_decisions(tmp_path / "decisions")), []) == 1
    assert score(again, FLAT | {"let": None})[0]["decision_id"] == first[0]["decision_id"]
