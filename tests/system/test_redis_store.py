"""The store in Redis behaves as the others do, also where several processes share it, stop or die."""

from __future__ import annotations

import inspect
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import serving.redis_store
from mlops.bundle import Schema
from mlops.errors import ConfigError, SetupError
from mlops.features import FeatureSet
from serving.codes import encode_id, up_to_time
from serving.entries import Entry, EntryEncoder
from serving.events import Event, EventReader
from serving.features import OnlineFeatures
from serving.plan import StorePlan
from serving.redis_store import RedisStore
from serving.redis_wire import RedisWire
from serving.store import OnlineStore, StoreTransaction
from tests.reference import reference_features
from tests.serving import test_kinds as kinds
from tests.serving import test_store as suite
from tests.serving.example import FEATURES, FEWER, NUMBERS, ROOT, TEXTS
from tests.system.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.system

SHARED = [
    test
    for name, test in vars(suite).items()
    if name.startswith("test_") and "open_store" in inspect.signature(test).parameters
]
_prefixes = (f"t{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def uri(server: RedisServer) -> str:
    """Of an empty store."""
    return f"{server.uri}?prefix={next(_prefixes)}"


def opened(uri: str, features: FeatureSet = FEATURES, schema: Schema = NUMBERS) -> RedisStore:
    return RedisStore(uri, StorePlan.of(features, schema), schema)


def total(store: OnlineStore, stream: int, key: int) -> tuple[int, ...]:
    with store.begin() as transaction:
        return transaction.totals(stream, encode_id(key), [up_to_time(2**62)])[0]


@pytest.mark.parametrize("test", SHARED, ids=lambda test: test.__name__)
def test_what_holds_for_the_other_stores_holds_in_redis(
    test: Callable[..., None], server: RedisServer
) -> None:
    @contextmanager
    def redis_store(schema: Schema) -> Iterator[OnlineStore]:
        store = opened(f"{server.uri}?prefix={next(_prefixes)}", schema=schema)
        try:
            yield store
        finally:
            store.close()

    test(open_store=redis_store)


def test_there_are_tests_that_all_stores_share() -> None:
    assert len(SHARED) >= 4


def done(store: OnlineStore, act: Callable[[StoreTransaction], Any]) -> Any:
    """Rehearse, and do it."""
    with store.begin(act) as transaction:
        return act(transaction)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=kinds.histories(st.integers(0, 1)))
def test_all_kinds_of_features_are_the_reference_s_also_when_rehearsed(
    history: Any, server: RedisServer
) -> None:
    features, schema = kinds.CASES["classes"]
    store = opened(f"{server.uri}?prefix={next(_prefixes)}", features, schema)
    reader, encode = EventReader(schema), EntryEncoder(store.plan)
    online = OnlineFeatures(features, schema, store.plan)
    events, arrivals = history
    labels: dict[Any, bool] = {}

    def pairs(rows: list[Any]) -> list[tuple[Event, Entry]]:
        read = [kinds.read(row, reader) for row in rows]
        return [(event, encode(event.id, event.time_us, event.values)) for event in read]

    def arrive(transaction: StoreTransaction) -> Any:
        if not (arrival and isinstance(arrival[0], dict)):
            return transaction.label([(encode_id(name), label, 0) for name, label in arrival])
        transaction.append([entry for _, entry in pairs(arrival)])
        return [online.compute(transaction, *pair) for pair in pairs(arrival)]

    for arrival in arrivals:
        done(store, arrive)
        if not (arrival and isinstance(arrival[0], dict)):
            labels |= {name: bool(label) for name, label in arrival}
    rows = done(store, lambda transaction: [online.compute(transaction, *pair) for pair in pairs(events)])
    store.close()
    expected = reference_features(events, labels, features, schema.events, schema.label)
    for event, row in zip(events, rows, strict=True):
        wanted = dict(zip(features.names, expected[event["payment"]], strict=True))
        assert dict(zip(features.names, row, strict=True)) == wanted


def test_a_new_event_takes_two_round_trips(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, reader = opened(uri), EventReader(NUMBERS)
    online, encode = OnlineFeatures(FEATURES, NUMBERS, store.plan), EntryEncoder(store.plan)
    suite.append(store, *(suite.row(n, n) for n in range(20)))
    event = suite.as_event(suite.row(20, 20), reader)
    entry = encode(event.id, event.time_us, event.values)
    trips = []
    exchange = RedisWire.exchange
    monkeypatch.setattr(
        RedisWire, "exchange", lambda *args, **more: (trips.append(1), exchange(*args, **more))[1]
    )

    def act(transaction: StoreTransaction) -> list[float]:
        assert transaction.answers([entry.id]) == [None]
        transaction.append([entry])
        transaction.save_answers({entry.id: b"answer"})
        return online.compute(transaction, event, entry)

    assert len(done(store, act)) == len(FEATURES.names)
    assert len(trips) == 2


def test_totals_wrap_around_at_64_bits_without_rounding(uri: str) -> None:
    store = opened(uri)
    place = 1 + list(store.plan.streams[0].sums).index("items")
    big = 2**53 - 1
    for start in range(0, 1200, 400):
        suite.append(store, *(suite.row(n, n, items=big) for n in range(start, start + 400)))
    with store.begin() as transaction:
        bounds = [up_to_time(suite.to_us(suite.row(n, n)["at"])) for n in (1180, 1190)]
        low, high = transaction.totals(0, encode_id(1), bounds)
    assert high[place] < low[place] or high[place] == 1191 * big
    assert (high[place] - low[place]) % 2**64 == 10 * big


def test_an_empty_store_takes_on_a_plan_and_a_fed_one_names_what_it_lacks(uri: str) -> None:
    opened(uri, FEWER).close()
    store = opened(uri)
    suite.append(store, suite.row(1, 0))
    store.close()
    assert opened(uri, FEWER).plan == StorePlan.of(FEATURES, NUMBERS)

    other = f"{uri}b"
    suite.append(opened(other, FEWER), suite.row(1, 0))
    with pytest.raises(
        ConfigError, match=r"127.0.0.1:\d+/0 \(t\d+b\): the store lacks sum of amount by card"
    ):
        opened(other)
    with pytest.raises(ConfigError, match="ids and keys"):
        opened(other, FEWER, TEXTS)


def test_a_store_that_was_made_anew_or_emptied_is_not_written_to(uri: str, server: RedisServer) -> None:
    store = opened(uri, FEWER)
    opened(uri).close()
    with pytest.raises(SetupError, match="made anew; backfill it, and start again"):
        suite.append(store, suite.row(1, 0))
    again = opened(uri)
    suite.append(again, suite.row(1, 0))
    server.client.flushdb()
    with pytest.raises(SetupError, match="the Redis has lost it; backfill it, and start again"):
        suite.append(again, suite.row(2, 0))
    assert server.client.keys() == []


def test_a_password_is_needed_and_never_shown(tmp_path: Path) -> None:
    with running_redis(tmp_path, "s3cret") as server:
        suite.append(opened(server.uri), suite.row(1, 0))
        for uri in (server.uri.replace("s3cret", "wr0ng"), server.uri.replace(":s3cret@", "")):
            with pytest.raises(SetupError, match=r"cannot be used|refused") as caught:
                opened(uri)
            assert "s3cret" not in str(caught.value) and "wr0ng" not in str(caught.value)


def test_what_took_longer_than_its_locks_last_writes_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = opened(uri), opened(uri)
    monkeypatch.setattr(serving.redis_store, "LOCK_MS", 50)
    with pytest.raises(SetupError, match="locks were lost, nothing is written"), one.begin() as transaction:
        transaction.label([(encode_id(1), 1, 0)])
        time.sleep(0.1)
    with pytest.raises(SetupError, match="locks were lost"), one.begin() as transaction:
        transaction.save_answers({encode_id(1): b"slow"})
        assert transaction.answers([encode_id(2)]) == [None]
        time.sleep(0.1)
        with other.begin() as quick:
            quick.save_answers({encode_id(2): b"quick"})
    with one.begin() as transaction:
        assert transaction.answers([encode_id(1), encode_id(2)]) == [None, b"quick"]
    suite.append(one, suite.row(1, 0))
    assert total(one, one.plan.find("shop", labelled=True), 1) == (0,)


def test_what_others_hold_for_too_long_is_given_up(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = opened(uri), opened(uri)
    monkeypatch.setattr(serving.redis_store, "PATIENCE_S", 0.1)
    with one.begin() as transaction:
        transaction.save_answers({encode_id(1): b"mine"})
        assert transaction.answers([encode_id(3)]) == [None]
        with pytest.raises(SetupError, match="another process holds the locks"), other.begin() as second:
            second.answers([encode_id(3)])
        with other.begin() as second:
            assert second.answers([encode_id(4)]) == [None]


WORKER = """
import sys
from tests.serving.test_store import *
from serving.redis_store import RedisStore
store = RedisStore(sys.argv[1], StorePlan.of(FEATURES, NUMBERS), NUMBERS)
reader, encode = EventReader(NUMBERS), EntryEncoder(store.plan)
print("ready", flush=True)
sys.stdin.readline()
counted = 0
for n in range(int(sys.argv[2]), int(sys.argv[3])):
    event = as_event(row(n, n % 50, shop=n % 3), reader)
    entry = encode(event.id, event.time_us, event.values)
    with store.begin(lambda t: t.append([entry])) as transaction:
        counted += transaction.append([entry])
        if sys.argv[4:] == ["stay"]:
            print("inside", flush=True)
            sys.stdin.readline()
print(counted, flush=True)
"""


@contextmanager
def worker(uri: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, uri, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_count_each_event_once_and_lose_none(uri: str) -> None:
    with worker(uri, 0, 400) as one, worker(uri, 200, 600) as other:
        go(one)
        go(other)
        assert int(line(one)) + int(line(other)) == 600
    store = opened(uri)
    assert total(store, store.plan.find("card"), 1)[:2] == (600, 600 * 100)
    assert [total(store, store.plan.find("shop"), shop)[0] for shop in range(3)] == [200, 200, 200]


def test_the_locks_of_a_dead_process_end_by_themselves_and_what_it_did_not_commit_is_not_there(
    uri: str,
) -> None:
    store = opened(uri)
    with worker(uri, 7, 8, "stay") as process:
        go(process)
        assert line(process) == "inside"
        process.send_signal(signal.SIGKILL)
        process.wait()
        started = time.monotonic()
        assert suite.append(store, suite.row(7, 7)) == 1
        assert time.monotonic() - started < serving.redis_store.PATIENCE_S
    assert total(store, store.plan.find("card"), 1)[0] == 1


def test_stores_with_other_prefixes_know_nothing_of_each_other(uri: str) -> None:
    one, other = opened(uri), opened(f"{uri}b")
    suite.append(one, suite.row(1, 0))
    assert suite.append(other, suite.row(1, 3, shop=4)) == 1


@pytest.mark.parametrize("uri", ["redis://127.0.0.1:port", "redis://127.0.0.1/0?no_such_option=1"])
def test_what_is_no_uri_is_one_error(uri: str) -> None:
    with pytest.raises(ConfigError, match="not the URI of a Redis"):
        opened(uri)
