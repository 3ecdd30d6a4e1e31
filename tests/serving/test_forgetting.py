"""What a store forgets or deletes is gone, and all else is as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import serving.forgetting
import serving.spans
from mlops.errors import ConfigError, InputError
from mlops.features import Count, Distinct, FeatureSet, Last, Max, Rate, Rolling, Sum
from serving.codes import encode_id
from serving.entries import EntryEncoder
from serving.events import EventReader, time_us
from serving.features import OnlineFeatures
from serving.forgetting import delete_key, forget
from serving.lmdb_store import LmdbStore
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.spans import level_of
from serving.store import OnlineStore
from serving.tables import ANSWERS, EVENTS, HELD, NOTES, SEEN, TABLES, TOTALS
from tests.reference import reference_features
from tests.serving import example
from tests.serving.test_kinds import CASES, event, histories, read

ALL, SCHEMA = CASES["classes"]
AGGREGATES = (
    Count(),
    Sum(column="items"),
    Max(column="items"),
    Distinct(column="note"),
    Rate(column="fraud"),
)
FEATURES = FeatureSet(
    tuple(
        msgspec.structs.replace(f, windows=f.windows[1:])
        for f in ALL.features
        if isinstance(f, Rolling) and f.agg in AGGREGATES
    )
    + tuple(f for f in ALL.features if isinstance(f, Last) and f.delay)
)
HORIZON = timedelta(microseconds=FEATURES.horizon_us)


@pytest.fixture(autouse=True, scope="module")
def small_steps() -> Iterator[None]:
    """High indexes, and transactions that do little, so that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.spans, "level_of", lambda place, _: level_of(place, 1))
        for name, size in (("_RECORDS", 2), ("_GROUPS", 2), ("_PLACES", 2), ("_EVENTS", 2)):
            patch.setattr(serving.forgetting, name, size)
        yield


def new_store() -> InMemoryStore:
    return InMemoryStore(StorePlan.of(FEATURES, SCHEMA))


def us(row: dict[str, Any]) -> int:
    return time_us(row["at"].isoformat())


def append(store: OnlineStore, *rows: dict[str, Any]) -> int:
    encode, reader = EntryEncoder(store.plan), EventReader(SCHEMA)
    events = [read(row, reader) for row in rows]
    entries = [encode(e.id, e.time_us, e.values) for e in events]
    with store.begin(lambda rehearsed: rehearsed.append(entries)) as transaction:
        added = transaction.append(entries)
        transaction.save_answers({entry.id: b"answer" for entry in entries})
    return added


def label(store: OnlineStore, *labels: tuple[Any, int], known_us: int = 0) -> list[int]:
    encoded = [(encode_id(name), value, known_us) for name, value in labels]
    with store.begin(lambda rehearsed: rehearsed.label(encoded)) as transaction:
        return transaction.label(encoded)


def compute(store: OnlineStore, row: dict[str, Any]) -> dict[str, float]:
    online, own = OnlineFeatures(FEATURES, SCHEMA, store.plan), read(row, EventReader(SCHEMA))
    entry = EntryEncoder(store.plan)(own.id, own.time_us, own.values)
    with store.begin(lambda rehearsed: online.compute(rehearsed, own, entry)) as transaction:
        return dict(zip(FEATURES.names, online.compute(transaction, own, entry), strict=True))


def check(store: OnlineStore, arrivals: list[Any], cuts: dict[int, int]) -> None:
    """Let all arrive and forget before arrivals; compare what can be known with all that was taken, ever."""
    labels: dict[Any, bool] = {}
    taken: dict[Any, dict[str, Any]] = {}
    cut: int | None = None
    for number, arrival in enumerate(arrivals):
        if number in cuts:
            cut = max(cut or 0, cuts[number])
            forget(store, cut)
        for each in arrival:
            if not isinstance(each, dict):
                if each[0] not in label_lost(taken, cut):
                    label(store, each, known_us=2**61)
                    labels[each[0]] = bool(each[1])
            elif cut is None or us(each) >= cut:
                append(store, each)
                taken[each["payment"]] = each
            else:
                with pytest.raises(InputError, match="the store has forgotten what was before"):
                    append(store, each)
    rows = list(taken.values())
    expected = reference_features(rows, labels, FEATURES, SCHEMA.events, SCHEMA.label)
    for row in rows:
        if cut is not None and us(row) - FEATURES.horizon_us < cut:
            with pytest.raises(InputError, match="its windows reach back"):
                compute(store, row)
        else:
            assert compute(store, row) == dict(zip(FEATURES.names, expected[row["payment"]], strict=True))
    for id_ in store.scan(EVENTS):
        assert cut is None or us(next(r for r in rows if encode_id(r["payment"]) == id_)) >= cut


def label_lost(taken: dict[Any, dict[str, Any]], cut: int | None) -> set[Any]:
    """Events whose label would change nothing any more: they were forgotten."""
    return {name for name, row in taken.items() if cut is not None and us(row) < cut}


@st.composite
def forgetful(draw: st.DrawFn) -> tuple[list[Any], dict[int, int]]:
    """Arrivals, and times to forget up to, each before one of the arrivals. Half of the events come much later."""
    events, arrivals = draw(histories(st.integers(0, 1)))
    later = draw(st.sets(st.sampled_from([e["payment"] for e in events])))
    for each in events:
        if each["payment"] in later:
            each["at"] += HORIZON
    place = st.integers(0, len(arrivals) - 1)
    moment = st.sampled_from(events).map(us)
    return arrivals, draw(st.dictionaries(place, moment, max_size=3))


@settings(max_examples=60, deadline=None)
@given(history=forgetful())
def test_features_within_the_horizon_are_what_they_were_before_forgetting(history: Any) -> None:
    check(new_store(), *history)


@settings(max_examples=10, deadline=None)
@given(history=forgetful())
def test_lmdb_forgets_alike(history: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("store")
    store = LmdbStore(folder, StorePlan.of(FEATURES, SCHEMA), SCHEMA)
    check(store, *history)
    store.close()


def long_history(seed: int, size: int) -> tuple[list[Any], dict[int, int]]:
    """Events in order, then half of the later ones, and labels, in any order; forgetting in between, twice."""
    draw = random.Random(seed)
    events = [
        event(f"{n:03}", draw.randint(0, 240), note=draw.choice("abcdefgh"), items=draw.randint(-9, 9))
        for n in range(size)
    ]
    cut = us(event("", 100))
    flips = [(each["payment"], draw.randint(0, 1)) for each in draw.choices(events, k=size)]
    late: list[Any] = [[each] for each in events if us(each) >= cut]
    early = [[each] for each in events if us(each) < cut] + late[::2]
    rest = late[1::2] + [[flip] for flip in flips]
    draw.shuffle(rest)
    return [*early, *rest], {len(early): cut, len(early) + 20: cut + 7}


@pytest.mark.parametrize("seed", range(3))
def test_late_events_and_labels_after_forgetting_are_right(seed: int) -> None:
    check(new_store(), *long_history(seed, 150))


def rows(n: int, card: str = "c", first: int = 0) -> list[dict[str, Any]]:
    return [
        event(f"{card}{k:04}", 2 * k, card=card, amount=float(k % 7), items=k % 5, note="ab"[k % 2])
        for k in range(first, n)
    ]


def test_what_is_forgotten_is_gone_but_for_a_total_to_subtract() -> None:
    store = new_store()
    old, kept = rows(300)[:200], rows(300)[200:]
    append(store, *old, *kept)
    append(store, *rows(20, "gone"))
    label(store, ("never came", 1), ("comes late", 1), known_us=us(old[0]))
    label(store, ("comes soon", 1), known_us=us(kept[0]))
    result = forget(store, us(kept[0]))
    assert result.events == 220
    assert {store.count(EVENTS), store.count(ANSWERS)} == {100}
    assert [*store.scan(HELD)] == [encode_id("comes soon")]
    assert {group[1:] for table in (TOTALS, SEEN) for group in store.scan(table)} == {encode_id("c")}
    streams = len(store.plan.streams)
    assert store.count(TOTALS) <= streams * 101
    assert store.count(SEEN) <= sum(len(stream.distinct) for stream in store.plan.streams) * 107
    again = forget(store, us(kept[0]))
    assert (again.events, again.places) == (0, 0)
    assert forget(store, us(old[0])).before == result.before  # nothing is brought back


def test_a_store_that_forgets_all_can_begin_anew() -> None:
    store = new_store()
    append(store, *rows(50))
    forget(store, us(rows(2000)[-1]))
    assert {table: store.count(table) for table in TABLES if table != NOTES} == dict.fromkeys(
        [table for table in TABLES if table != NOTES], 0
    )
    later = rows(2100, first=2000)
    append(store, *later)
    expected = reference_features(later, {}, FEATURES, SCHEMA.events, SCHEMA.label)
    last = later[-1]
    assert list(compute(store, last).values()) == expected[last["payment"]]


def test_a_key_is_deleted_with_its_events_and_no_other_key_changes() -> None:
    store = new_store()
    mine, others = rows(60, "mine"), rows(60, "other")
    append(store, *mine, *others)
    label(store, *[(row["payment"], 1) for row in mine + others])
    delete_key(store, "card", "mine")
    assert {store.count(EVENTS), store.count(ANSWERS)} == {60}
    assert not any(encode_id("mine") in key for table in TABLES for key in store.scan(table))
    with store.begin() as transaction:
        assert transaction.answers([encode_id(mine[0]["payment"])]) == [None]
        keys = [(encode_id(card),) for card in ("mine", "other")]
        assert [transaction.deleted_us(key) is None for key in keys] == [False, True]
    known = {row["payment"]: True for row in others}
    again = rows(70, "mine", first=60)
    append(store, *again)
    expected = reference_features([*others, *again], known, FEATURES, SCHEMA.events, SCHEMA.label)
    for row in (others[-1], again[-1]):
        assert list(compute(store, row).values()) == expected[row["payment"]]
    assert delete_key(store, "card", "nobody").events == 0
    with pytest.raises(ConfigError, match="nothing by note; keys: card"):
        delete_key(store, "note", "a")


def test_an_event_that_is_sent_again_after_it_was_deleted_counts_once_for_its_other_key() -> None:
    features = FeatureSet(
        tuple(
            Rolling(key=key, agg=agg, windows=("7d",))
            for key in ("shop", "card")
            for agg in (Count(), Sum(column="amount"), Max(column="amount"), Distinct(column="items"))
        )
    )
    store = InMemoryStore(StorePlan.of(features, example.NUMBERS))
    online = OnlineFeatures(features, example.NUMBERS, store.plan)
    reader, encode = EventReader(example.NUMBERS), EntryEncoder(store.plan)
    raw = [example.payment(n, shop=1, at=f"2024-03-0{1 + n // 24}T{n % 24:02}:00:00") for n in range(72)]
    events = [reader.event(each) for each in raw]
    entries = [encode(event.id, event.time_us, event.values) for event in events]
    for _ in range(2):
        with store.begin() as transaction:
            transaction.append(entries)
        delete_key(store, "card", 3)
    with store.begin() as transaction:
        assert transaction.append(entries) == len([event for event in events if event.values["card"] == 3])
        found = [online.compute(transaction, *pair) for pair in zip(events, entries, strict=True)]
    rows = [{**each, "at": datetime.fromisoformat(each["at"])} for each in raw]
    expected = reference_features(rows, {}, features, example.EVENTS, example.LABEL)
    assert found == [expected[event.id] for event in events]


def test_a_key_of_which_a_part_was_forgotten_is_deleted() -> None:
    store = new_store()
    append(store, *rows(60))
    forget(store, us(rows(60)[30]))
    assert delete_key(store, "card", "c").events == 30
    assert sum(store.count(table) for table in TABLES if table != NOTES) == 0


def test_a_server_appends_between_the_transactions_of_forgetting() -> None:
    store = new_store()
    append(store, *rows(100))
    steps = 0

    def meanwhile(_: int) -> None:
        nonlocal steps
        append(store, event(f"new{steps:04}", 300 + steps, amount=1.0))
        steps += 1

    forget(store, us(rows(100)[60]), meanwhile)
    assert steps > 10
    kept = rows(100)[60:] + [event(f"new{n:04}", 300 + n, amount=1.0) for n in range(steps)]
    expected = reference_features(kept, {}, FEATURES, SCHEMA.events, SCHEMA.label)
    assert list(compute(store, kept[-1]).values()) == expected[kept[-1]["payment"]]
