"""Clients of a server that something happens to, and what it owes them afterwards."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from mlops.records import read_decisions
from tests.serving.example import Server, World, payment, payments

__all__ = ["Load", "check_counts", "check_kept", "log_of", "until"]


class Load:
    """Clients that send one event after the other, each until it is answered with 200."""

    def __init__(self, server: Server, first: int = 0, clients: int = 3) -> None:
        self.answers: dict[int, Any] = {}
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self._server, self._first, self._clients = server, first, clients
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.go_on(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, more: int = 60, seconds: float = 30.0) -> None:
        """Wait until so many more were answered."""
        wanted = len(self.answers) + more
        until(lambda: len(self.answers) >= wanted, seconds)

    def _send(self, offset: int) -> None:
        client, number = self._connect(), self._first + offset
        while not self._stop.is_set():
            try:
                reply = client.post("/v1/score", payment(number))
            except (OSError, http.client.HTTPException):
                self.broken += 1
                client = self._connect()
                continue
            self.statuses[reply.status] += 1
            if reply.status == 200:
                self.answers[number] = reply.body
                number += self._clients
            else:
                time.sleep(0.01)

    def _connect(self) -> Server:
        return Server(self._server.process, str(self._server.port))


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def log_of(world: World) -> str:
    return (world.home / "serving.log").read_text()


def check_kept(world: World, server: Server, answers: dict[int, Any], *, orphans: int = 0) -> None:
    """Every acknowledged answer is in the log, and is what a repeat of its event gets.

    Args:
        orphans: how many lines more there may be than events. A worker that is killed between the log and the store
            leaves one that nobody was told of, if another worker is sent the event again before it is replaced.
    """
    decisions = list(read_decisions(world.decisions))
    assert len(decisions) <= len({decision.event_id for decision in decisions}) + orphans
    logged = {decision.decision_id: decision for decision in decisions}
    for number, answer in answers.items():
        decision = logged[answer["decision_id"]]
        assert (decision.event_id, decision.score) == (number, answer["score"])
    numbers = sorted(answers)
    for start in range(0, len(numbers), 100):
        some = numbers[start : start + 100]
        reply = server.post("/v1/score", payments(some))
        assert (reply.status, reply.body) == (200, [answers[number] for number in some])


def check_counts(world: World, server: Server) -> None:
    """The store has counted every logged event, once: as the count of one card's last week shows."""
    last = payment(10**9, at="2024-03-29T00:00:00", card=3)
    found = server.post("/v1/score?features=true", last)
    assert found.status == 200, found.body
    events = {decision.event_id: decision.event for decision in read_decisions(world.decisions)}
    week = [
        e
        for e in events.values()
        if e["card"] == 3 and "2024-03-22T00:00:00" < e["at"] <= "2024-03-29T00:00:01"
    ]
    assert found.body["features"]["card_count_7d"] == len(week)
