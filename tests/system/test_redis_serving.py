"""Servers that share a Redis answer as one, lose nothing that they acknowledged, and say when it cannot be reached."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mlops.records import read_decisions
from pipelines.kernel import features_of
from serving.codes import encode_id
from tests.serving.example import EVENTS, FEATURES, Server, World, payment
from tests.system.failover import Failover
from tests.system.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.system


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with running_redis(folder, "s3cret") as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, redis_server: RedisServer) -> World:
    """A home with a bundle deployed, whose store is a Redis."""
    world = World(tmp_path)
    world.store = redis_server.uri  # type: ignore[assignment]
    world.deploy("1", world.bundle())
    return world


def served(server: Server, number: int, **changes: Any) -> dict[str, Any]:
    reply = server.post("/v1/score?features=true", payment(number, **changes))
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = reply.body
    return answer


def answered(server: Server, body: Any) -> Any:
    """What a request is answered in the end: it is sent again as long as it is told to."""
    deadline = time.monotonic() + 60
    while (reply := server.post("/v1/score", body)).status == 503:
        assert time.monotonic() < deadline, reply.body
        time.sleep(0.05)
    assert reply.status == 200, reply.body
    return reply.body


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_servers_answer_a_repeated_event_alike_and_count_it_once(world: World) -> None:
    with world.server() as one, world.server() as other:
        first = served(one, 1, card=5)
        assert served(other, 1, card=5) == first
        assert other.post("/v1/score", payment(1, card=6)).status == 409
        second = served(other, 29, card=5, at="2024-03-02T02:00:00")
        assert second["features"]["card_count_1d"] == 2
        label = {"event_id": 1, "label": 1, "known_at": "2024-03-05T00:00:00"}
        assert other.post("/v1/labels", [label]).body == {"applied": 1, "held": []}
        later = {"shop": payment(1)["shop"], "at": "2024-03-09T03:00:00"}
        assert served(one, 30, **later)["features"]["shop_rate_fraud_1d"] == 1.0
    assert [d.event_id for d in read_decisions(world.decisions)].count(1) == 1


def test_what_two_servers_serve_is_what_is_computed_offline(world: World) -> None:
    rows = sorted((payment(number) for number in range(1, 301)), key=lambda row: (row["at"], row["payment"]))
    frauds = {row["payment"]: row["payment"] % 11 == 0 for row in rows}
    known = "2024-04-30T00:00:00"
    labels = [{"event_id": n, "label": int(fraud), "known_at": known} for n, fraud in frauds.items()]
    with world.server() as one, world.server() as other:
        assert one.post("/v1/labels", labels).body["applied"] == 0  # they are held until their events come
        answers = [
            served(server, row["payment"]) for row, server in zip(rows, [one, other] * 150, strict=True)
        ]
    table = pa.table(
        {
            "payment": [row["payment"] for row in rows],
            "at": pa.array(
                [datetime.fromisoformat(row["at"]).replace(tzinfo=UTC) for row in rows],
                pa.timestamp("us", "UTC"),
            ),
            "card": [row["card"] for row in rows],
            "shop": [row["shop"] for row in rows],
            "amount": [row["amount"] for row in rows],
            "items": [row["items"] for row in rows],
            "abroad": [row["abroad"] for row in rows],
            "note": pa.nulls(len(rows), pa.string()),
            "fraud": [frauds[row["payment"]] for row in rows],
        }
    )
    offline = {row["payment"]: row for row in features_of(table, FEATURES, EVENTS).to_pylist()}
    for row, answer in zip(rows, answers, strict=True):
        expected = offline[row["payment"]]
        assert answer["features"] == {name: expected[name] for name in FEATURES.names}


def test_killed_together_with_its_redis_a_server_keeps_what_it_acknowledged(
    world: World, redis_server: RedisServer
) -> None:
    sent, acknowledged = 1200, {}
    with world.server() as server:
        done = threading.Semaphore(0)

        def send(offset: int) -> None:
            client = Server(server.process, str(server.port))
            try:
                for number in range(offset, sent, 3):
                    reply = client.post("/v1/score", payment(number, card=1))
                    if reply.status == 200:
                        acknowledged[number] = reply.body
                        done.release()
            except (OSError, http.client.HTTPException):
                return  # killed

        threads = [threading.Thread(target=send, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(150):
            done.acquire()
        redis_server.stop(signal.SIGKILL)
        server.process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert 150 <= len(acknowledged) < sent
    redis_server.start()
    with world.server() as server:
        for start in range(0, sent, 100):
            answers = answered(server, [payment(n, card=1) for n in range(start, start + 100)])
            for number, answer in enumerate(answers, start):
                assert answer == acknowledged.get(number, answer)
        counts = served(server, sent, card=1, at="2024-03-29T00:00:00")["features"]
    lines = Counter(d.event_id for d in read_decisions(world.decisions))
    assert set(lines.values()) == {1}
    expected = 1 + sum(payment(n)["at"] > "2024-03-22T00:00:00" for n in range(sent))
    assert counts["card_count_7d"] == expected


def test_what_a_killed_redis_had_not_written_yet_it_is_given_again(
    world: World, redis_server: RedisServer, tmp_path: Path
) -> None:
    with world.server() as server:
        served(server, 1, card=5, at="2024-03-03T00:00:00")
        time.sleep(2.5)  # Redis may put writing off for two seconds
        kept = tmp_path / "kept"
        shutil.copytree(tmp_path / "redis", kept)
        answers = [served(server, n, card=5, at="2024-03-03T00:00:00") for n in (2, 3)]
        label = {"event_id": 3, "label": 1, "known_at": "2024-03-05T00:00:00"}
        assert server.post("/v1/labels", [label]).body["applied"] == 1
        redis_server.stop(signal.SIGKILL)
        shutil.rmtree(tmp_path / "redis")
        kept.rename(tmp_path / "redis")
        redis_server.start()
        assert [served(server, n, card=5, at="2024-03-03T00:00:00") for n in (2, 3)] == answers
        assert served(server, 4, card=5, at="2024-03-03T01:00:00")["features"]["card_count_1d"] == 4
        later = {"shop": payment(3)["shop"], "at": "2024-03-10T02:00:00"}
        assert served(server, 30, **later)["features"]["shop_rate_fraud_1d"] == 1.0
        redis_server.stop(signal.SIGKILL)
        shutil.rmtree(tmp_path / "redis" / "appendonlydir")
        redis_server.start()
        assert server.post("/v1/score", payment(31)).status == 503
        until(lambda: "the Redis has lost it; backfill it" in (server.get("/readyz").body["store"] or ""))
    log = (world.home / "serving.log").read_text()
    assert "had forgotten 2 events" in log and "s3cret" not in log


def test_what_an_idle_server_and_one_that_is_gone_logged_a_redis_is_given_again_by_another(
    world: World, redis_server: RedisServer, tmp_path: Path
) -> None:
    at = "2024-03-03T00:00:00"
    with world.server() as idle, world.server() as other:
        served(other, 1, card=5, at=at)
        time.sleep(2.5)  # Redis may put writing off for two seconds
        kept = tmp_path / "kept"
        shutil.copytree(tmp_path / "redis", kept)
        with world.server() as gone:
            answers = [served(idle, 2, card=5, at=at), served(gone, 3, card=5, at=at)]
        redis_server.stop(signal.SIGKILL)
        shutil.rmtree(tmp_path / "redis")
        kept.rename(tmp_path / "redis")
        redis_server.start()
        assert served(other, 4, card=5, at=at)["features"]["card_count_1d"] == 4
        assert [served(other, n, card=5, at=at) for n in (2, 3)] == answers
        assert [served(idle, n, card=5, at=at) for n in (2, 3)] == answers
    assert [d.void for d in read_decisions(world.decisions)] == [False] * 4


def test_without_its_redis_a_server_says_so_and_goes_on_when_it_is_back(
    world: World, redis_server: RedisServer
) -> None:
    with world.server() as server:
        served(server, 1, card=5)
        redis_server.stop(signal.SIGKILL)
        for path, body in (("/v1/score", payment(2, card=5)), ("/v1/labels", [])):
            reply = server.post(path, body)
            assert (reply.status, reply.type) == (503, "application/problem+json")
            assert "see that it runs and answers" in reply.body["detail"]
        until(lambda: server.get("/readyz").status == 503)  # what the store said is known for a second
        ready = server.get("/readyz")
        assert (ready.status, ready.body["status"]) == (503, "not ready")
        assert "the Redis cannot be used" in ready.body["store"]
        assert server.get("/livez").status == 200
        redis_server.start()
        until(lambda: server.get("/readyz").status == 200)
        again = served(server, 2, card=5, at=payment(1)["at"])
        assert again["features"]["card_count_1d"] == 2
        redis_server.stop()
        redis_server.start()
        assert served(server, 3, card=5, at=payment(1)["at"])["features"]["card_count_1d"] == 3
    log = (world.home / "serving.log").read_text()
    assert "Traceback" not in log and "s3cret" not in log


def test_a_server_that_starts_before_its_redis_answers_once_it_is_there(
    world: World, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.stop()
    with world.server() as server:
        ready = server.get("/readyz")
        assert ready.status == 503 and "the Redis cannot be used" in ready.body["store"]
        assert server.post("/v1/score", payment(1)).status == 503
        redis_server.start()
        until(lambda: server.get("/readyz").status == 200)
        assert served(server, 1)["features"]["card_count_1d"] == 1
    assert "s3cret" not in (world.home / "serving.log").read_text()


def test_where_another_redis_takes_over_in_the_middle_a_repeat_gets_the_decision_that_was_acknowledged(
    world: World, redis_server: RedisServer, tmp_path: Path
) -> None:
    at = "2024-03-03T00:00:00"
    failover = Failover(redis_server)
    world.store = failover.uri  # type: ignore[assignment]
    with world.server() as server:
        served(server, 1, card=5, at=at)
        time.sleep(2.5)  # Redis may put writing off for two seconds
        shutil.copytree(tmp_path / "redis", tmp_path / "second")
        with running_redis(tmp_path / "second", "s3cret") as second:
            acknowledged = [served(server, n, card=5, at=at) for n in (2, 3)]
            failover.fail_at_the_next_transaction(second)
            reply = server.post("/v1/score?features=true", payment(2, card=5, at=at))
            assert reply.status == 503 and "is another one; send the request again" in reply.body["detail"]
            assert [served(server, n, card=5, at=at) for n in (2, 3)] == acknowledged
            assert served(server, 4, card=5, at="2024-03-03T01:00:00")["features"]["card_count_1d"] == 4
    failover.close()
    assert [(d.event_id, d.void) for d in read_decisions(world.decisions)] == [
        (number, False) for number in (1, 2, 3, 4)
    ]


def test_a_decision_that_a_redis_has_forgotten_is_found_before_anything_is_scored(
    world: World, redis_server: RedisServer, tmp_path: Path
) -> None:
    with world.server() as server:
        served(server, 1)
        time.sleep(2.5)  # Redis may put writing off for two seconds
        kept = tmp_path / "kept"
        shutil.copytree(tmp_path / "redis", kept)
        answer = served(server, 2)
        redis_server.stop(signal.SIGKILL)
        shutil.rmtree(tmp_path / "redis")
        kept.rename(tmp_path / "redis")
        redis_server.start()
        assert server.get(f"/v1/decisions/{answer['decision_id']}").body == answer


def test_while_its_redis_hangs_a_server_lives_and_says_that_it_is_not_ready(
    world: World, redis_server: RedisServer
) -> None:
    def client(server: Server) -> Server:
        return Server(server.process, str(server.port))

    with world.server() as server:
        served(server, 1)
        before = server.workers()
        process = redis_server.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        try:
            ended = threading.Event()
            statuses: Counter[int] = Counter()

            def load(first: int) -> None:
                sender, number = client(server), first
                while not ended.is_set():
                    number += 1
                    statuses[sender.post("/v1/score", payment(number)).status] += 1
                    sender.get("/readyz")

            threads = [threading.Thread(target=load, args=(n * 10_000,)) for n in range(1, 9)]
            for thread in threads:
                thread.start()
            waits = []
            for _ in range(4):
                asked = time.monotonic()
                assert client(server).get("/livez").status == 200
                waits.append(time.monotonic() - asked)
            until(lambda: server.get("/readyz").status == 503)
            ended.set()
            for thread in threads:
                thread.join()
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert set(statuses) == {503}
        assert max(waits) < 3  # one second of them is to wait for the Redis, and no more
        until(lambda: server.get("/readyz").status == 200)
        answered(server, payment(2))
        assert server.workers() == before


def test_while_a_dead_process_holds_a_key_others_are_answered_soon_and_the_key_in_the_end(
    world: World, redis_server: RedisServer
) -> None:
    with world.server() as server:
        served(server, 1, card=5)
        served(server, 2, card=6)
        redis_server.client.set(b"mlops:lock:key:" + encode_id(5), b"dead", px=3000)
        began = time.monotonic()
        refused = server.post("/v1/score", payment(3, card=5))
        assert refused.status == 503 and "another process holds the locks" in refused.body["detail"]
        assert time.monotonic() - began < 2.5  # and not as long as the lock lasts
        assert server.get("/readyz").status == 200
        served(server, 4, card=6)
        answered(server, payment(3, card=5))


def test_a_redis_that_takes_nothing_more_is_told_until_it_does(
    world: World, redis_server: RedisServer
) -> None:
    with world.server() as server:
        served(server, 1)
        redis_server.client.config_set("maxmemory", 1)
        assert server.post("/v1/score", payment(2)).status == 503
        for _ in range(8):  # longer than the first probes take, and as long as nobody asks for a score
            ready = server.get("/readyz")
            assert ready.status == 503 and "maxmemory" in ready.body["store"]
            time.sleep(0.5)
        until(lambda: 'mlops_store_up{worker="0"} 0.0' in server.text("/metrics"))
        redis_server.client.config_set("maxmemory", 0)
        until(lambda: server.get("/readyz").status == 200)
        served(server, 2)


def test_a_redis_that_was_filled_anew_is_opened_by_the_next_worker(
    world: World, redis_server: RedisServer
) -> None:
    with world.server() as server:
        served(server, 1)
        (worker,) = server.workers()
        plan = redis_server.client.get("mlops:plan")
        assert isinstance(plan, bytes)
        redis_server.client.set("mlops:plan", plan + b" ")
        reply = server.post("/v1/score", payment(2))
        assert reply.status == 503 and "made anew" in reply.body["detail"]
        until(lambda: server.workers() not in ([], [worker]))
        served(Server(server.process, str(server.port)), 2)
