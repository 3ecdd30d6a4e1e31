"""A log or a store that cannot be written to: told where one looks, once in the log, and once more when it is over."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import lmdb
import pytest

from mlops.errors import SetupError
from serving import troubles
from serving.lmdb_store import MAP_BYTES
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.store import Rehearsal, StoreTransaction
from serving.troubles import Troubles
from tests.serving.example import FEATURES, NUMBERS, Server, World, payment
from tests.serving.supervised import ended, loads, log_of, until


def test_a_log_that_cannot_be_written_is_told_until_it_can_be_again(world: World) -> None:
    with world.server("--rotate-mb", "0.001", "--poll-seconds", "3600") as server:
        assert server.post("/v1/score", payment(1)).status == 200
        assert server.get("/readyz").body["log"] is None
        shutil.rmtree(world.decisions)
        world.decisions.write_text("where the folder was")
        deadline = time.monotonic() + 20
        events = map(payment, count(2))
        while server.post("/v1/score", next(events)).status == 200:  # the file that was open is soon full
            assert time.monotonic() < deadline
        numbers = range(10**6, 10**6 + 50)
        assert {server.post("/v1/score", payment(number)).status for number in numbers} == {503}
        ready = server.get("/readyz")
        assert ready.status == 503 and ready.body["log"].startswith(
            f"{world.decisions}: cannot be written to"
        )
        assert server.get("/livez").status == 200
        world.decisions.unlink()
        server.wait_for("log", None)
        assert server.get("/readyz").status == 200
        assert {server.post("/v1/score", payment(number)).status for number in numbers} == {200}
    log = (world.home / "serving.log").read_text()
    assert log.count("events are refused, as the log fails") == 1
    assert log.count("the log can be written to again") == 1
    assert log.count("cannot be written to") <= 4, log  # one of the requests', too, and not one of each


PLAN = StorePlan.of(FEATURES, NUMBERS)


class Refusing(InMemoryStore):
    """Says why, until it is told not to."""

    why = "no memory is left"

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        if self.why:
            raise SetupError(self.why, where="redis://host")
        with super().begin(rehearsal) as transaction:
            yield transaction


def test_a_trouble_is_said_once_and_is_over_when_log_and_store_take_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "QUIET_S", 0.0)
    log, store, audit = tmp_path / "log", Refusing(PLAN), tmp_path / "audit"
    log.write_text("where the folder will be")
    seen = Troubles(log, None, audit, lambda: 0.0)
    with caplog.at_level(logging.INFO):
        assert not seen.is_due()
        seen.failed(SetupError("cannot be written to: no space", where=audit))
        assert not seen.is_due()
        for _ in range(2):
            seen.failed(SetupError("cannot be written to: no space", where=log))
            seen.failed(SetupError("the locks are lost", where="redis://host"))
        assert seen.why("log") == f"{log}: cannot be written to: no space"
        assert seen.is_due()
        seen.look(store)
        assert seen.why("store") == "redis://host: the locks are lost" and seen.why("log")
        log.unlink()
        seen.look(store)
        assert seen.why("store") == "redis://host: no memory is left" and seen.why("log")
        store.why = ""
        seen.look(store)
        assert seen.why("log") is None and seen.why("store") is None and not seen.is_due()
    levels = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert levels == [
        ("ERROR", "events are refused, as the log fails"),
        ("ERROR", "events are refused, as the store fails"),
        ("INFO", "the log can be written to again"),
        ("INFO", "the store can be written to again"),
    ]


def test_a_file_of_the_log_that_fails_is_a_trouble_of_the_log(tmp_path: Path) -> None:
    seen = Troubles(tmp_path, tmp_path.parent / "store", tmp_path, lambda: 0.0)
    seen.failed(SetupError("cannot be read", where=tmp_path / "decisions-1.jsonl"))
    assert seen.why("log") and seen.why("store") is None


def test_what_was_written_ends_a_trouble_and_a_probe_that_was_wrong_is_asked_less_and_less(
    tmp_path: Path,
) -> None:
    written = 0.0
    store = Refusing(PLAN)
    seen = Troubles(tmp_path, None, tmp_path, lambda: written)
    failure = SetupError("some events do not fit", where="redis://host")
    seen.failed(failure)
    written = 1.0  # by a request, while the probe would still say no
    seen.look(store)
    assert seen.why("store") is None
    store.why = ""
    waits = []
    for _ in range(8):
        seen.failed(failure)
        waits.append(seen.quiet_s)
        seen.look(store)
        assert seen.why("store") is None
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    written = 2.0
    seen.failed(failure)
    assert seen.quiet_s == 1.0


def test_a_store_that_was_made_anew_under_a_server_is_opened_by_the_next_worker(world: World) -> None:
    with world.server() as server:
        assert server.post("/v1/score", payment(1)).status == 200
        (worker,) = server.workers()
        env = lmdb.open(str(world.store), max_dbs=32, map_size=MAP_BYTES)
        meta = env.open_db(b"meta")
        with env.begin(write=True) as transaction:
            transaction.put(b"plan", (transaction.get(b"plan", db=meta) or b"") + b" ", db=meta)
        env.close()
        reply = server.post("/v1/score", payment(2))
        assert reply.status == 503 and "made anew" in reply.body["detail"]
        until(lambda: ended(worker))
        client = Server(server.process, str(server.port))
        assert client.post("/v1/score", payment(2)).status == 200
        assert client.get("/readyz").status == 200


def test_where_the_store_s_folder_is_removed_all_workers_open_the_next_one(world: World) -> None:
    with world.server("--workers", "2") as server:
        until(lambda: loads(world) == 2)
        workers = server.workers()
        shutil.rmtree(world.store)
        until(lambda: all(map(ended, workers)) and loads(world) == 4)
        clients = [Server(server.process, str(server.port)) for _ in range(12)]
        replies = [client.post("/v1/score", payment(1)) for client in clients]
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body["decision_id"] for reply in replies}) == 1
    assert log_of(world).count("the folder of the store was removed, or is another") == 2


def test_a_store_that_cannot_be_used_at_the_start_is_no_fault_of_the_bundle(world: World) -> None:
    world.store.mkdir()
    (world.store / "data.mdb").touch()
    with world.server() as server:
        ready = server.get("/readyz")
        assert (ready.status, ready.body["version"], ready.body["refused"]) == (503, None, None)
        assert "its data.mdb is empty" in ready.body["store"]
        assert 'mlops_model_refused{worker="0"} 0.0' in server.text("/metrics")
        assert "/readyz says why" in server.post("/v1/score", payment(1)).body["detail"]
        (world.store / "data.mdb").unlink()
        server.wait_for("version", "1")
        assert server.get("/readyz").status == 200
    assert log_of(world).count("events are refused, as the store fails") == 1


def test_that_the_store_is_gone_and_is_back_is_said_once_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Troubles(tmp_path, None, tmp_path, lambda: 0.0)
    with caplog.at_level(logging.INFO):
        for why_not in (None, "refused", "timed out", None, None):
            seen.asked(why_not)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the store cannot be reached: refused", "the store is reached again"]
