"""Workers that share a log, rotate it and are killed under load lose nothing, also while it is archived."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
from collections import Counter
from datetime import date

from mlops.policy import DecisionLog
from pipelines.archive import logged_decisions, logged_labels, read_manifest
from pipelines.compact import compact
from tests.serving.example import EVENTS, LABEL, Server, World, payment, payments

CLIENTS, LIMIT, ENOUGH = 4, 40_000, 3_000
OPTIONS = ("--workers", "2", "--rotate-mb", "0.05")


def test_all_that_killed_workers_acknowledged_is_in_the_log_once_while_it_rotates_and_is_archived(
    world: World,
) -> None:
    answers: dict[int, str] = {}
    labelled: set[int] = set()
    enough = threading.Event()

    def send(client: int) -> None:
        draw, connection = random.Random(client), Server(server.process, str(server.port))
        number = client
        try:
            while number < LIMIT:
                numbers = range(number, number + CLIENTS * draw.choice([1, 1, 1, 8, 40]), CLIENTS)
                if len(numbers) == 1:
                    replies = [connection.post("/v1/score", payment(number)).body]
                else:
                    replies = connection.post("/v1/score", payments(numbers)).body
                answers.update({reply["event_id"]: reply["decision_id"] for reply in replies})
                known = {"event_id": number, "label": number % 2, "known_at": "2024-03-30T00:00:00"}
                connection.post("/v1/labels", [known])
                labelled.add(number)
                number = numbers.stop
                if len(answers) > ENOUGH:
                    enough.set()
        except (OSError, http.client.HTTPException):
            return  # killed

    def archive() -> int:
        return compact(world.decisions, EVENTS, LABEL, DecisionLog(), None, today=date(2026, 1, 1)).files

    with world.server(*OPTIONS) as server:
        threads = [threading.Thread(target=send, args=(client,)) for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        archived = 0
        while not enough.wait(0.05):
            archived += archive() if world.decisions.exists() else 0
        for pid in (server.process.pid, *server.workers()):
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert ENOUGH < len(answers) < LIMIT and archived > 5

    archive()
    manifest = read_manifest(world.decisions)
    assert {path.name for path in world.decisions.glob("*.jsonl")} == set(manifest.sources)
    logged = {str(d.event_id): d.decision_id for d in logged_decisions(world.decisions, manifest)}
    assert {str(number): id_ for number, id_ in answers.items()}.items() <= logged.items()
    assert {str(number) for number in labelled} <= {
        str(record.event_id) for record in logged_labels(world.decisions, manifest)
    }

    with world.server(*OPTIONS) as server:  # what was logged and not answered is answered as it was logged
        for start in range(0, max(map(int, logged)) + 1, 100):
            for reply in server.post("/v1/score", payments(range(start, start + 100))).body:
                number = str(reply["event_id"])
                assert reply["decision_id"] == logged.setdefault(number, reply["decision_id"])
    archive()
    again = logged_decisions(world.decisions, read_manifest(world.decisions))
    lines = Counter(str(decision.event_id) for decision in again)
    assert lines.keys() == logged.keys() and set(lines.values()) == {1}
