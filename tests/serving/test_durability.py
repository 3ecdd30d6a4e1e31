"""What was acknowledged survives, and what was not can be sent again."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import serving.lmdb_store
from mlops.errors import SetupError
from mlops.records import Decision, LabelRecord, read_decisions, read_labels
from serving.decisions import AppendLog, last_decisions
from serving.entries import EntryEncoder
from serving.lmdb_store import LmdbStore
from serving.plan import StorePlan
from tests.serving.example import FEATURES, NUMBERS, Server, World, payment


def newest(folder: Path) -> Path:
    return max(folder.glob("decisions-*.jsonl"))


@pytest.mark.parametrize("with_supervisor", [False, True], ids=["the worker", "worker and supervisor"])
def test_killed_while_it_answers_it_keeps_what_it_acknowledged_and_counts_each_event_once(
    world: World, with_supervisor: bool
) -> None:
    sent, acknowledged = 1200, {}
    with world.server() as server:
        done = threading.Semaphore(0)

        def send(offset: int) -> None:
            client = Server(server.process, str(server.port))
            try:
                for number in range(offset, sent, 3):
                    reply = client.post("/v1/score", payment(number, card=1))
                    acknowledged[number] = reply.body
                    done.release()
            except (OSError, http.client.HTTPException):
                return  # killed

        threads = [threading.Thread(target=send, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(150):
            done.acquire()
        for pid in [*([server.process.pid] if with_supervisor else []), *server.workers()]:
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert 150 <= len(acknowledged) < sent
    logged = {d.event_id: d for d in read_decisions(world.decisions)}
    for number, answer in acknowledged.items():
        assert (logged[number].decision_id, logged[number].score) == (answer["decision_id"], answer["score"])
    with world.server() as server:
        for start in range(0, sent, 100):
            answers = server.post("/v1/score", [payment(n, card=1) for n in range(start, start + 100)]).body
            for number, answer in enumerate(answers, start):
                assert answer == acknowledged.get(number, answer)
        last = payment(sent, card=1, at="2024-03-29T00:00:00")
        counts = server.post("/v1/score?features=true", last).body["features"]
    lines = Counter(d.event_id for d in read_decisions(world.decisions))
    assert set(lines.values()) == {1}
    expected = 1 + sum(payment(n)["at"] > "2024-03-22T00:00:00" for n in range(sent))
    assert counts["card_count_7d"] == expected


def test_a_decision_that_was_logged_but_not_committed_is_the_one_that_a_repeat_gets(world: World) -> None:
    with world.server() as server:
        server.post("/v1/score", payment(1, card=5))
    log = newest(world.decisions)
    logged = next(read_decisions(world.decisions))
    orphan = msgspec.structs.replace(
        logged, decision_id="orphan", event_id=2, event={**logged.event, "payment": 2}
    )
    with log.open("ab") as file:
        file.write(msgspec.json.encode(orphan) + b"\n" + msgspec.json.encode(orphan)[:50])
    with world.server() as server:
        assert "recovered 1 events" in (world.home / "serving.log").read_text()
        assert server.post("/v1/score", payment(2, card=5, at=payment(1)["at"], amount=77)).status == 409
        again = server.post("/v1/score?features=true", payment(1, payment=2, card=5)).body
        assert (again["decision_id"], again["score"]) == ("orphan", logged.score)
        assert list(again["features"].values()) == logged.features
        third = server.post("/v1/score?features=true", payment(3, card=5, at=payment(1)["at"])).body
        assert third["features"]["card_count_7d"] == 3
    assert [d.event_id for d in read_decisions(world.decisions)] == [1, 2, 3]


def test_a_logged_decision_whose_event_got_another_answer_is_void_from_the_next_start_on(
    world: World,
) -> None:
    with world.server() as server:
        answered = server.post("/v1/score", payment(1)).body["decision_id"]
    log = newest(world.decisions)
    later = datetime.now(UTC).isoformat()
    orphan = msgspec.structs.replace(
        next(read_decisions(world.decisions)), decision_id="orphan", scored_at=later
    )
    with log.open("ab") as file:
        file.write(msgspec.json.encode(orphan) + b"\n")
    for _ in range(2):
        with world.server("--workers", "2") as server:
            assert server.post("/v1/score", payment(1)).body["decision_id"] == answered
            assert server.get(f"/v1/decisions/{answered}").status == 200
            assert server.get("/v1/decisions/orphan").status == 404
    logged = list(read_decisions(world.decisions))
    assert {d.decision_id for d in logged if d.void} == {"orphan"}
    assert [d.decision_id for d in logged if not d.void] == [answered, "orphan"]


def test_labels_that_were_logged_but_not_committed_are_set_at_the_next_start(world: World) -> None:
    later = "2024-03-12T00:00:00"

    def fraud_rate(server: Server, number: int) -> float:
        event = payment(number, shop=3, at=later)
        features: dict[str, float] = server.post("/v1/score?features=true", event).body["features"]
        return features["shop_rate_fraud_7d"]

    with world.server() as server:
        for number in (1, 2):
            assert server.post("/v1/score", payment(number, shop=3)).status == 200
        assert server.post(
            "/v1/labels", [{"event_id": 1, "label": 0, "known_at": "2024-03-09T00:00:00"}]
        ).body == {"applied": 1, "held": []}
        assert fraud_rate(server, 10) == 0
    log = next(world.decisions.glob("labels-*.jsonl"))
    now = datetime.now(UTC).isoformat()
    lost = [
        LabelRecord(event_id=event_id, label=label, known_at="2024-03-10T00:00:00+00:00", received_at=now)
        for event_id, label in [(1, 1), (2, 1), (2, 0), (11, 1)]
    ]
    with log.open("ab") as file:
        file.write(b"".join(msgspec.json.encode(label) + b"\n" for label in lost) + b'{"event_id": 2, "la')
    for start in range(2):
        with world.server() as server:
            assert fraud_rate(server, 20 + start) == 1 / 2
    with world.server() as server:  # the label that came before its event was held
        assert server.post("/v1/score", payment(11, shop=3, at="2024-03-03T03:00:00")).status == 200
        assert fraud_rate(server, 30) == 2 / 3


def test_the_last_lines_of_a_long_log_are_found(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, "decisions")
    decisions = [
        Decision(
            decision_id=str(n), event_id=n, scored_at="", event={"note": "x" * 2000}, features=[], score=0.0,
            decision="approve", version="1", bundle="",
        )
        for n in range(300)
    ]  # fmt: skip
    log.write(decisions)
    log.close()
    assert [d.event_id for d in last_decisions(tmp_path, 100)] == list(range(200, 300))
    assert [d.event_id for d in last_decisions(tmp_path, 1000)] == list(range(300))


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_part_of_it(tmp_path: Path) -> None:
    log = AppendLog(tmp_path, "labels")
    label = LabelRecord(event_id=1, label=1, known_at="2024-03-01T00:00:00+00:00")
    log.write([label])
    size = next(tmp_path.glob("labels-*")).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(SetupError):
            log.write([label])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write([label])
    log.close()
    assert list(read_labels(tmp_path)) == [label, label]


def test_a_store_that_is_full_says_so_and_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.lmdb_store, "MAP_BYTES", 256 * 1024)
    store = LmdbStore(tmp_path, StorePlan.of(FEATURES, NUMBERS), NUMBERS)
    encode = EntryEncoder(store.plan)
    rows = [payment(number) for number in range(10_000)]
    with store.begin() as transaction:
        assert transaction.append([encode(1, 0, rows[1])]) == 1
    with pytest.raises(SetupError, match="cannot be written to"), store.begin() as transaction:
        transaction.append([encode(row["payment"], 0, row) for row in rows])
    with store.begin() as transaction:
        assert transaction.append([encode(1, 0, rows[1]), encode(2, 0, rows[2])]) == 1
    store.close()


@pytest.mark.parametrize("pages", [1, 4, 8])
def test_a_store_for_which_there_is_no_room_is_an_error_that_names_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(serving.lmdb_store, "MAP_BYTES", pages * 4096)
    with pytest.raises(SetupError, match=f"{tmp_path}: cannot be used as a store: .*MDB_MAP_FULL"):
        LmdbStore(tmp_path, StorePlan.of(FEATURES, NUMBERS), NUMBERS)


def test_a_store_that_was_closed_says_so(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, StorePlan.of(FEATURES, NUMBERS), NUMBERS)
    store.close()
    with pytest.raises(SetupError, match=r"cannot be written to: .*closed"), store.begin():
        pass
