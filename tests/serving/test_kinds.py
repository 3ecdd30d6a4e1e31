"""Every kind of feature has the value of the brute-force reference online, in whatever order things arrive."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import serving.spans
from mlops.bundle import Schema
from mlops.features import (
    Agg,
    Calendar,
    Count,
    Distinct,
    FeatureSet,
    Last,
    Max,
    Mean,
    Min,
    Missing,
    OneHot,
    Rate,
    Rolling,
    SinceFirst,
    SinceLast,
    Sum,
    Value,
    Where,
)
from mlops.schema import Column, EventSchema, Label
from serving.codes import encode_id
from serving.entries import EntryEncoder
from serving.events import Event, EventReader
from serving.features import OnlineFeatures
from serving.lmdb_store import LmdbStore
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.spans import level_of
from serving.store import OnlineStore
from tests.reference import reference_features

START = datetime(2024, 3, 30, 20, tzinfo=UTC)  # clocks change in Brussels on the next day

EVENTS = EventSchema(
    id="payment",
    time="at",
    columns=(
        Column(name="payment", type="id"),
        Column(name="at", type="timestamp"),
        Column(name="card", type="id"),
        Column(name="amount", type="decimal", decimals=2, nullable=True),
        Column(name="items", type="integer", nullable=True),
        Column(name="weight", type="float", nullable=True),
        Column(name="abroad", type="boolean", nullable=True),
        Column(name="note", type="text", nullable=True),
        Column(name="opened", type="timestamp", nullable=True),
        Column(name="fraud", type="boolean", nullable=True),
    ),
)
QUANTITY = EventSchema(
    id="payment",
    time="at",
    columns=(*EVENTS.columns[:-1], Column(name="loss", type="decimal", decimals=1, nullable=True)),
)
SPANS = {"windows": ("1h", "9h", "2d"), "fallback": -7.0}


def rolling(agg: Agg, name: str, **options: Any) -> Rolling:
    return Rolling(key="card", agg=agg, prefix=name, **{**SPANS, **options})


def windows(*, label: str) -> list[Rolling | Last]:
    """Each aggregate with and without delay, own event and condition, also on the label and of it."""
    aggregates: list[Agg] = [
        Count(),
        Sum(column="items"),
        Mean(column="amount"),
        Rate(column="abroad"),
        Min(column="amount"),
        Max(column="items"),
        Max(column="amount"),
        Distinct(column="note"),
        Distinct(column="amount"),
        SinceFirst(),
        SinceLast(),
    ]
    known, few = Where(column=label, minimum=0.5), Where(column=label, maximum=0.7)
    if label == "fraud":
        known, few = Where(column=label, equals=True), Where(column=label, equals=False)
    made: list[Rolling | Last] = []
    for agg in aggregates:
        if not isinstance(agg, SinceLast):
            made.append(rolling(agg, f"{agg.label}_own"))
        made.append(rolling(agg, f"{agg.label}_before", include_current=False))
        made.append(rolling(agg, f"{agg.label}_late", delay="5h"))
        large = Where(column="weight", minimum=-1.0, maximum=2.5)
        made.append(rolling(agg, f"{agg.label}_where", include_current=False, where=large))
        made.append(rolling(agg, f"{agg.label}_bad", delay="1d", where=known))
    of_label: list[Agg] = [Distinct(column=label), Sum(column=label), Mean(column=label)]
    of_label += [Rate(column=label)] if label == "fraud" else [Min(column=label), Max(column=label)]
    for agg in of_label:
        made.append(rolling(agg, f"{agg.label}_label", delay="1d"))
        made.append(rolling(agg, f"{agg.label}_noted", delay="1d", where=Where(column="note", equals="b")))
        made.append(rolling(agg, f"{agg.label}_few", delay="1d", where=few))
    fields = ("amount", "at", "items", "abroad")
    made += [
        Last(key="card", fields=fields, n=3, window="2d", fallback=-1.0),
        Last(key="card", fields=("at",), n=2, window="9h", include_current=False, prefix="before"),
        Last(
            key="card",
            fields=("items",),
            n=2,
            window="9h",
            where=Where(column="items", equals=2),
            prefix="twos",
        ),
        Last(
            key="card", fields=(label, "amount"), n=2, window="2d", delay="1d", prefix="late", fallback=-2.0
        ),
    ]
    return made


OWN = (
    Value(column="amount", fallback=-3.5),
    Value(column="weight", fallback=0.25),
    Missing(column="amount"),
    Missing(column="note"),
    OneHot(column="note", values=("a", "b")),
    OneHot(column="abroad", values=("true", "false")),
    Calendar(part="hour", timezone="Europe/Brussels"),
    Calendar(part="night", timezone="Australia/Lord_Howe"),
    Calendar(part="weekday"),
    *(
        Calendar(part=part, column="opened", timezone="America/New_York", fallback=-9.0)
        for part in ("weekend", "night", "hour", "weekday", "day", "month", "year")
    ),
)
FEATURES = FeatureSet((*OWN, *windows(label="fraud")))
OF_QUANTITY = FeatureSet(tuple(windows(label="loss")))
CASES = {
    "classes": (FEATURES, Schema(events=EVENTS, label=Label(column="fraud", delay_days=1))),
    "quantity": (OF_QUANTITY, Schema(events=QUANTITY, label=Label(column="loss", delay_days=1))),
}


@pytest.fixture(autouse=True, scope="module")
def steep() -> Iterator[None]:
    """Every other place a leader, so that small histories have high indexes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.spans, "level_of", lambda place, _: level_of(place, 1))
        yield


def event(name: Any, hours: float, **values: Any) -> dict[str, Any]:
    row = dict.fromkeys(column.name for column in EVENTS.columns[:-1])
    return {**row, "payment": name, "at": START + timedelta(hours=hours), "card": "c", **values}


@st.composite
def histories(draw: st.DrawFn, labels: st.SearchStrategy[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Events, and their arrivals in any order: lists of events, some twice, and lists of (id, label), some changed."""
    size = draw(st.integers(1, 14))
    hours = st.integers(0, draw(st.sampled_from([3, 20, 120]))).map(lambda n: n / 2)
    events = [
        event(
            f"{n:02}",
            draw(hours),
            card=draw(st.sampled_from("cccd")),
            amount=draw(st.none() | st.integers(-300, 300)),
            items=draw(st.none() | st.integers(-3, 3)),
            weight=draw(st.none() | st.sampled_from([-2.0, -1.0, 0.1, 2.5, 3.0])),
            abroad=draw(st.none() | st.booleans()),
            note=draw(st.none() | st.sampled_from(["a", "b", "a long note, of more than sixteen bytes"])),
            opened=draw(st.none() | st.just(START + timedelta(hours=draw(hours)))),
        )
        for n in range(size)
    ]
    for each in events:
        each["amount"] = None if each["amount"] is None else each["amount"] / 100
    again = draw(st.lists(st.sampled_from(events), max_size=3))
    arriving = draw(st.permutations(events + again)) if draw(st.booleans()) else events + again
    step = draw(st.integers(1, 5))
    arrivals: list[Any] = [arriving[i : i + step] for i in range(0, len(arriving), step)]
    names = [each["payment"] for each in events]
    for _ in range(draw(st.integers(0, 6))):
        known = draw(st.lists(st.tuples(st.sampled_from(names), labels), max_size=6))
        arrivals.insert(draw(st.integers(0, len(arrivals))), known)
    return events, arrivals


def read(row: dict[str, Any], reader: EventReader) -> Event:
    times = {name: value.isoformat() for name, value in row.items() if isinstance(value, datetime)}
    return reader.event({**row, **times})


def check(store: OnlineStore, case: str, events: list[Any], arrivals: list[Any]) -> None:
    features, schema = CASES[case]
    reader, encode = EventReader(schema), EntryEncoder(store.plan)
    online = OnlineFeatures(features, schema, store.plan)
    labels: dict[Any, Any] = {}
    for arrival in arrivals:
        with store.begin() as transaction:
            if arrival and isinstance(arrival[0], dict):
                each = [read(row, reader) for row in arrival]
                transaction.append([encode(e.id, e.time_us, e.values) for e in each])
            else:
                transaction.label([(encode_id(name), label, 0) for name, label in arrival])
                labels |= dict(arrival)
    if case == "classes":
        labels = {name: bool(label) for name, label in labels.items()}
    expected = reference_features(events, labels, features, schema.events, schema.label)
    with store.begin() as transaction:
        for row in events:
            own = read(row, reader)
            found = online.compute(transaction, own, encode(own.id, own.time_us, own.values))
            wanted = dict(zip(features.names, expected[row["payment"]], strict=True))
            assert dict(zip(features.names, found, strict=True)) == wanted


@settings(max_examples=60, deadline=None)
@given(history=histories(st.integers(0, 1)))
def test_all_kinds_are_the_reference_s(history: Any) -> None:
    features, schema = CASES["classes"]
    check(InMemoryStore(StorePlan.of(features, schema)), "classes", *history)


@settings(max_examples=25, deadline=None)
@given(history=histories(st.sampled_from([0.0, 0.3, 0.5, 0.9, -1.2, 2.0])))
def test_all_kinds_of_a_quantity_as_label_are_the_reference_s(history: Any) -> None:
    features, schema = CASES["quantity"]
    check(InMemoryStore(StorePlan.of(features, schema)), "quantity", *history)


INDEXED = tuple(
    rolling(
        agg, f"{agg.label}_{where and where.column}", delay="1d", where=where, windows=("1h", "30h", "10d")
    )
    for agg in (
        Count(),
        Mean(column="loss"),
        Min(column="loss"),
        Max(column="loss"),
        Distinct(column="loss"),
        Max(column="items"),
    )
    for where in (None, Where(column="loss", minimum=0.5))
)
CASES["indexed"] = FeatureSet(INDEXED), CASES["quantity"][1]


@pytest.mark.parametrize("seed", range(8))
def test_a_long_history_with_labels_that_change_is_the_reference_s(seed: int) -> None:
    draw = random.Random(seed)
    events = [
        event(
            f"{n:03}", draw.randint(0, 400), items=draw.randint(-50, 50), **({} if n % 3 else {"card": "d"})
        )
        for n in range(120)
    ]
    arrivals: list[Any] = [[each] for each in events]
    for _ in range(150):
        names = [draw.choice(events)["payment"] for _ in range(draw.randint(1, 3))]
        arrivals.append([(name, draw.randint(-20, 20) / 10) for name in names])
    if seed % 2:
        draw.shuffle(arrivals)
    features, schema = CASES["indexed"]
    check(InMemoryStore(StorePlan.of(features, schema)), "indexed", events, arrivals)


@settings(max_examples=10, deadline=None)
@given(history=histories(st.integers(0, 1)))
def test_all_kinds_are_the_reference_s_in_lmdb(
    history: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    features, schema = CASES["classes"]
    folder: Path = tmp_path_factory.mktemp("store")
    store = LmdbStore(folder, StorePlan.of(features, schema), schema)
    check(store, "classes", *history)
    store.close()
