"""Both stores give every event the values of the brute-force reference, in whatever order things arrive."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.bundle import Schema
from mlops.errors import ConfigError, InputError, SetupError
from mlops.features import Distinct, FeatureSet, Rolling, Where
from serving.codes import encode_id, encode_time, up_to_time
from serving.entries import EntryEncoder
from serving.events import Event, EventReader
from serving.features import OnlineFeatures
from serving.lmdb_store import LmdbStore
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.store import OnlineStore
from tests.reference import reference_features
from tests.serving.example import EVENTS, FEATURES, FEWER, LABEL, NUMBERS, ROOT, TEXTS

START = datetime(2024, 3, 1, 22)


@contextmanager
def lmdb_store(schema: Schema) -> Iterator[OnlineStore]:
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbStore(Path(folder), StorePlan.of(FEATURES, schema), schema)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def memory_store(schema: Schema) -> Iterator[OnlineStore]:
    yield InMemoryStore(StorePlan.of(FEATURES, schema))


STORES = pytest.mark.parametrize("open_store", [lmdb_store, memory_store], ids=["lmdb", "memory"])

hours = st.integers(0, 400).map(lambda n: n // 2)  # ties are common, and so are borders of windows
whole_ids = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 12)
text_ids = st.text(alphabet="a\x00\x01ÿb", min_size=1, max_size=3)


@st.composite
def histories(draw: st.DrawFn, ids: st.SearchStrategy[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Events, and their arrivals in any order: lists of events, some twice, and lists of (id, label), some changed."""
    names = draw(st.lists(ids, unique=True, min_size=1, max_size=14))
    keys = draw(st.lists(ids, unique=True, min_size=1, max_size=3))
    events = [
        {
            "payment": name,
            "at": START + timedelta(hours=draw(hours)),
            "card": draw(st.sampled_from(keys)),
            "shop": draw(st.sampled_from(keys)),
            "amount": draw(st.integers(0, 10**8)) / 100,
            "items": draw(st.none() | st.integers(-5, 5)),
            "abroad": draw(st.none() | st.booleans()),
            "note": None,
        }
        for name in names
    ]
    again = draw(st.lists(st.sampled_from(events), max_size=3))
    arriving = draw(st.permutations(events + again))
    size = draw(st.integers(1, 5))
    arrivals: list[Any] = [arriving[i : i + size] for i in range(0, len(arriving), size)]
    for _ in range(draw(st.integers(0, 4))):
        labels = draw(st.lists(st.tuples(st.sampled_from(names), st.integers(0, 1)), max_size=4))
        arrivals.insert(draw(st.integers(0, len(arrivals))), labels)
    return events, arrivals


def as_event(row: dict[str, Any], reader: EventReader) -> Event:
    return reader.event({**row, "at": row["at"].isoformat()})


def check_history(store: OnlineStore, schema: Schema, events: list[Any], arrivals: list[Any]) -> None:
    reader, encode = EventReader(schema), EntryEncoder(store.plan)
    online = OnlineFeatures(FEATURES, schema, store.plan)
    labels: dict[Any, bool] = {}
    for arrival in arrivals:
        with store.begin() as transaction:
            if arrival and isinstance(arrival[0], dict):
                read = [as_event(row, reader) for row in arrival]
                transaction.append([encode(e.id, e.time_us, e.values) for e in read])
            else:
                transaction.label([(encode_id(name), label, 0) for name, label in arrival])
                labels |= {name: bool(label) for name, label in arrival}
    expected = reference_features(events, labels, FEATURES, EVENTS, LABEL)
    with store.begin() as transaction:
        for row in events:
            event = as_event(row, reader)
            entry = encode(event.id, event.time_us, event.values)
            assert online.compute(transaction, event, entry) == expected[row["payment"]]


@STORES
@settings(max_examples=60, deadline=None)
@given(history=histories(whole_ids))
def test_values_are_the_reference_s_once_all_has_arrived(open_store: Any, history: Any) -> None:
    with open_store(NUMBERS) as store:
        check_history(store, NUMBERS, *history)


@STORES
@settings(max_examples=60, deadline=None)
@given(history=histories(text_ids))
def test_text_ids_compare_bytewise_also_where_one_begins_another(open_store: Any, history: Any) -> None:
    with open_store(TEXTS) as store:
        check_history(store, TEXTS, *history)


@given(st.lists(text_ids | st.text(max_size=6), min_size=2, max_size=2), st.integers(-(2**62), 2**62))
def test_encoded_texts_sort_as_their_bytes_and_none_begins_another(pair: list[str], time: int) -> None:
    a, b = sorted(set(pair), key=str.encode)[0], sorted(set(pair), key=str.encode)[-1]
    assert (a == b) or encode_id(a) + encode_time(time) < encode_id(b) + encode_time(-time)
    assert (a == b) or not encode_id(b).startswith(encode_id(a))


@given(whole_ids, whole_ids)
def test_encoded_numbers_sort_as_numbers(a: int, b: int) -> None:
    assert (encode_id(a) < encode_id(b)) == (a < b)
    assert (encode_time(a) < encode_time(b)) == (a < b)


def row(name: int, hour: int, **changes: Any) -> dict[str, Any]:
    return {
        "payment": name,
        "at": START + timedelta(hours=hour),
        "card": 1,
        "shop": 1,
        "amount": 1.0,
        **changes,
    }


def append(store: OnlineStore, *rows: dict[str, Any]) -> int:
    reader, encode = EventReader(NUMBERS), EntryEncoder(store.plan)
    events = [as_event(each, reader) for each in rows]
    with store.begin() as transaction:
        return transaction.append([encode(e.id, e.time_us, e.values) for e in events])


@STORES
def test_what_a_failed_transaction_did_is_undone(open_store: Any) -> None:
    with open_store(NUMBERS) as store:
        append(store, row(1, 0))
        with pytest.raises(InputError, match="payment: was seen before"):
            append(store, row(2, 1), row(1, 5))
        with pytest.raises(ZeroDivisionError), store.begin() as transaction:
            transaction.label([(encode_id(1), 1, 0), (encode_id(9), 1, 0)])
            transaction.save_answers({encode_id(1): b"x"})
            1 / 0  # noqa: B018
        with store.begin() as transaction:
            total = transaction.totals(0, encode_id(1), [up_to_time(2**62)])
            assert total == [(1, 100, 0, 0)]
            positives = store.plan.find("shop", labelled=True)
            assert transaction.totals(positives, encode_id(1), [up_to_time(2**62)]) == [(0,)]
            assert transaction.answers([encode_id(1)]) == [None]
        assert append(store, row(9, 1)) == 1


@STORES
def test_a_label_in_advance_is_held_and_reported(open_store: Any) -> None:
    with open_store(NUMBERS) as store:
        append(store, row(1, 0))
        with store.begin() as transaction:
            assert transaction.label([(encode_id(1), 1, 0), (encode_id(2), 1, 0)]) == [1]
        append(store, row(2, 0))
        with store.begin() as transaction:
            positives = store.plan.find("shop", labelled=True)
            assert transaction.totals(positives, encode_id(1), [up_to_time(2**62)]) == [(2,)]


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    plan = StorePlan.of(FEATURES, NUMBERS)
    store = LmdbStore(tmp_path, plan, NUMBERS)
    append(store, row(1, 0))
    store.close()
    environment = lmdb.open(str(tmp_path), max_dbs=9)
    with environment.begin(write=True) as transaction:
        old = msgspec.json.encode(plan).replace(b'"format":3', b'"format":2')
        transaction.put(b"plan", old, db=environment.open_db(b"meta", transaction))
    environment.close()
    with pytest.raises(ConfigError, match=r"not a store of this version: .*; backfill an empty one"):
        LmdbStore(tmp_path, plan, NUMBERS)


def test_sums_beyond_64_bits_are_right_where_a_window_s_sum_is_not(tmp_path: Path) -> None:
    with memory_store(NUMBERS) as store:
        big = 2**53
        rows = [row(n, 24 * n, items=big) for n in range(1500)]
        append(store, *rows)
        with store.begin() as transaction:
            first, last = (up_to_time(to_us(rows[n]["at"])) for n in (1480, 1490))
            (low, high) = transaction.totals(0, encode_id(1), [first, last])
            place = 1 + list(store.plan.streams[0].sums).index("items")
            assert (high[place] - low[place]) % 2**64 == 10 * big


def to_us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def test_a_store_that_another_process_made_anew_is_not_written_to(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, StorePlan.of(FEWER, NUMBERS), NUMBERS)
    other = (
        "from pathlib import Path\nfrom tests.serving.example import *\n"
        "from serving.lmdb_store import LmdbStore\nfrom serving.plan import StorePlan\n"
        f"LmdbStore(Path({str(tmp_path)!r}), StorePlan.of(FEATURES, NUMBERS), NUMBERS).close()"
    )
    subprocess.run([sys.executable, "-c", other], cwd=ROOT, check=True, timeout=60)
    with pytest.raises(SetupError, match="made anew; start again"):
        append(store, row(1, 0))
    store.close()


def test_limits_and_windows_that_differ_in_the_last_digit_are_not_the_same() -> None:
    def plan(limit: float, window: str) -> StorePlan:
        where = Where(column="amount", minimum=limit)
        different = Rolling(key="card", agg=Distinct(column="shop"), windows=(window,), where=where)
        return StorePlan.of(FeatureSet((different,)), NUMBERS)

    held = plan(1_234_567.0, "30d")
    assert held.lacks(plan(1_234_567.0, "30d")) == []
    assert held.lacks(plan(1_234_567.01, "30d"))[0] == "count by card where amount ≥ 1234567.01"
    assert held.lacks(plan(1_234_567.0, "2592001s")) == [
        "different shop in 2592001s by card where amount ≥ 1234567"
    ]


def test_an_empty_store_takes_on_a_plan_and_a_fed_one_names_what_it_lacks(tmp_path: Path) -> None:
    fewer, all_ = StorePlan.of(FEWER, NUMBERS), StorePlan.of(FEATURES, NUMBERS)
    LmdbStore(tmp_path, fewer, NUMBERS).close()
    store = LmdbStore(tmp_path, all_, NUMBERS)
    append(store, row(1, 0))
    store.close()
    reopened = LmdbStore(tmp_path, fewer, NUMBERS)
    assert reopened.plan == all_
    reopened.close()

    fed = LmdbStore(tmp_path / "fed", fewer, NUMBERS)
    append(fed, row(1, 0))
    fed.close()
    with pytest.raises(ConfigError, match=r"lacks sum of amount by card, .*positives by shop; backfill"):
        LmdbStore(tmp_path / "fed", all_, NUMBERS)
    with pytest.raises(ConfigError, match="ids and keys"):
        LmdbStore(tmp_path / "fed", StorePlan.of(FEWER, TEXTS), TEXTS)
    decimals = tuple(
        msgspec.structs.replace(c, decimals=3) if c.name == "amount" else c for c in EVENTS.columns
    )
    finer = msgspec.structs.replace(NUMBERS, events=msgspec.structs.replace(EVENTS, columns=decimals))
    with pytest.raises(ConfigError, match="reads amount as the events do not have it"):
        LmdbStore(tmp_path, StorePlan.of(FEATURES, finer), finer)


def test_a_store_whose_file_was_emptied_is_refused_and_not_made_anew(tmp_path: Path) -> None:
    plan = StorePlan.of(FEATURES, NUMBERS)
    LmdbStore(tmp_path, plan, NUMBERS).close()
    (tmp_path / "data.mdb").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(SetupError, match=r"its data\.mdb is empty; restore it; or remove the folder"):
            LmdbStore(tmp_path, plan, NUMBERS)
    assert (tmp_path / "data.mdb").stat().st_size == 0


def test_processes_that_make_a_new_store_at_the_same_time_do_not_take_it_for_an_emptied_one(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.lmdb_store import LmdbStore; "
        "from serving.plan import StorePlan; from tests.serving.example import FEATURES, NUMBERS; "
        "plan = StorePlan.of(FEATURES, NUMBERS); sys.stdin.readline(); "
        "[LmdbStore(Path(sys.argv[1]) / str(n), plan, NUMBERS).close() for n in range(100)]"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write(b"\n")
        maker.stdin.close()
    assert [maker.wait(timeout=60) for maker in makers] == [0, 0]
