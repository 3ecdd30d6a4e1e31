"""A fast client: mixed requests over a few kept connections from one process, each answer checked as it comes."""

from __future__ import annotations

import asyncio
import json
import random
from array import array
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import cast

import msgspec

__all__ = ["MixedLoad"]

CARDS, TERMINALS = 5_000, 10_000
GAP_S = 10
IN_A_LIST, LABELS, ROWS = 8, 4, 4
FAILED = 500  # and all above
KINDS = ("event", "list", "tensor", "labels", "decision", "bad")
WEIGHTS = (60, 5, 15, 8, 7, 5)
"""Of a hundred requests."""

_DAYS = [(date(2018, 4, 1) + timedelta(days=n)).isoformat() for n in range(2000)]


class Scored(msgspec.Struct):
    """What is looked at of an answer."""

    event_id: int
    decision_id: str
    version: str


_one, _many = msgspec.json.Decoder(Scored).decode, msgspec.json.Decoder(list[Scored]).decode


class MixedLoad:
    """Sends `total` requests; the answers to events are kept, as are all statuses by kind.

    Args:
        key: an API key that may score and label.
        features: how many the model takes.
        at: what to do, in the midst of the load, once so many requests are answered.
    """

    def __init__(
        self, port: int, key: str, features: int, total: int, at: Mapping[int, Callable[[], object]]
    ) -> None:
        self.total, self.sent, self.done, self.broken = total, 0, 0, 0
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.versions: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.acknowledged = array("Q", bytes(8 * (total * 2 + IN_A_LIST)))
        """By the event's number, the first 16 digits of its decision id; 0 where none was acknowledged."""
        self._port, self._at = port, dict(at)
        self._key = key.encode()
        self._events = 0
        self._recent: deque[tuple[int, str]] = deque(maxlen=1000)
        self._random = random.Random(0)
        self._kinds: list[str] = []
        self._finished = asyncio.Event()
        row = json.dumps([0.5] * features)
        self._tensors = [
            self._post("/v1/predict", f'{{"features":[{",".join([row] * n)}]}}'.encode())
            for n in range(1, ROWS + 1)
        ]
        self._bad = self._bad_requests(features)

    async def run(self, connections: int) -> None:
        """Send all of them; at most as many at a time as there are connections."""
        for _ in range(connections):
            await self._connect()
        before = -1
        while not self._finished.is_set():
            assert self.done != before, f"no answer for 20 s after {self.done} requests"
            before = self.done
            try:
                await asyncio.wait_for(self._finished.wait(), 20)
            except TimeoutError:
                continue

    @property
    def events(self) -> int:
        """How many events were sent."""
        return self._events

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)

    def next(self) -> tuple[str, int, bytes] | None:
        """Kind, what is to be known of it, and the bytes of the next request; None if it was the last."""
        if self.sent >= self.total:
            return None
        self.sent += 1
        if not self._kinds:
            self._kinds = self._random.choices(KINDS, WEIGHTS, k=1000)
        kind = self._kinds.pop()
        if kind == "decision" and self._recent:
            number, decision = self._random.choice(self._recent)
            return kind, number, self._request("GET", f"/v1/decisions/{decision}")
        if kind == "list":
            events = b",".join([self._event(self._events + n) for n in range(IN_A_LIST)])
            first, self._events = self._events, self._events + IN_A_LIST
            return kind, first, self._post("/v1/score", b"[" + events + b"]")
        if kind == "tensor":
            return kind, 0, self._random.choice(self._tensors)
        if kind == "labels" and self._recent:
            return kind, 0, self._post("/v1/labels", self._labels())
        if kind == "bad":
            status, request = self._random.choice(self._bad)
            return kind, status, request
        number, self._events = self._events, self._events + 1
        return "event", number, self._post("/v1/score", self._event(number))

    def answered(self, kind: str, known: int, status: int, body: bytes) -> None:
        """Look at an answer."""
        self.done += 1
        self.statuses[kind, status] += 1
        if status != (known if kind == "bad" else 200):
            self.wrong.append(f"{kind}: {status} {body[:300]!r}")
        elif kind == "event":
            self._acknowledge(known, _one(body))
        elif kind == "list":
            for number, answer in enumerate(_many(body), known):
                self._acknowledge(number, answer)
        elif kind == "decision" and _one(body).event_id != known:
            self.wrong.append(f"the decision about {known} is {body[:300]!r}")
        if act := self._at.pop(self.done, None):
            act()
        if self.done + self.broken >= self.total:
            self._finished.set()

    def lost(self) -> None:
        """A connection broke before its answer came."""
        self.broken += 1
        if self.done + self.broken >= self.total:
            self._finished.set()
        else:
            self._again = asyncio.ensure_future(self._connect())

    def _acknowledge(self, number: int, answer: Scored) -> None:
        if answer.event_id != number:
            self.wrong.append(f"asked about {number}, answered about {answer.event_id}")
        self.acknowledged[number] = int(answer.decision_id[:16], 16)
        self.versions[answer.version] += 1
        if number % 8 == 0:
            self._recent.append((number, answer.decision_id))

    def _event(self, number: int, more: bytes = b"") -> bytes:
        day, second = divmod(number * GAP_S, 86_400)
        return (
            b'{"transaction_id":%d,"event_time":"%bT%02d:%02d:%02dZ","customer_id":%d,"terminal_id":%d,'
            b'"amount":%d.%02d%b}'
            % (
                number,
                _DAYS[day].encode(),
                second // 3600,
                second // 60 % 60,
                second % 60,
                number * 7919 % CARDS,
                number * 104_729 % TERMINALS,
                number * 31 % 300,
                number % 100,
                more,
            )
        )

    def _labels(self) -> bytes:
        known = self._random.sample(range(self._events), min(LABELS, self._events))
        day = _DAYS[self._events * GAP_S // 86_400 + 8].encode()
        return (
            b"["
            + b",".join(
                b'{"event_id":%d,"label":%d,"known_at":"%bT00:00:00Z"}' % (number, number % 50 == 0, day)
                for number in known
            )
            + b"]"
        )

    def _bad_requests(self, features: int) -> list[tuple[int, bytes]]:
        event = self._event(0)
        return [
            (422, self._post("/v1/score", b'{"transaction_id":')),
            (422, self._post("/v1/score", b"\xff\xfe")),
            (422, self._post("/v1/score", b"[" * 5000)),
            (422, self._post("/v1/score", event.replace(b'"amount":0.00', b'"amount":NaN'))),
            (422, self._post("/v1/score", event.replace(b'"amount":0.00', b'"amount":-1e400'))),
            (422, self._post("/v1/score", self._event(0, b',"colour":"red"'))),
            (422, self._post("/v1/score", event.replace(b"2018", b"2199"))),
            (422, self._post("/v1/score", b"[" + b",".join([event] * 101) + b"]")),
            (422, self._post("/v1/predict", b'{"features":[[1,2]]}')),
            (422, self._post("/v1/labels", b'[{"event_id":1,"label":2,"known_at":"2018-05-01T00:00:00Z"}]')),
            (404, self._request("GET", "/v1/nothing")),
            (404, self._request("GET", f"/v1/decisions/{'0' * 32}-AYAAAAAAAAAB")),
            (405, self._request("DELETE", "/v1/score")),
            (415, self._post("/v1/score", event, b"content-encoding: gzip\r\n")),
            (401, self._post("/v1/score", event).replace(self._key, b"mlk_" + b"x" * 43)),
            (403, self._post("/v1/admin/reload", b"")),
        ]

    def _post(self, path: str, body: bytes, headers: bytes = b"") -> bytes:
        return self._request("POST", path, b"%bcontent-length: %d\r\n" % (headers, len(body))) + body

    def _request(self, method: str, path: str, headers: bytes = b"") -> bytes:
        line = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n".encode()
        return b"%bauthorization: Bearer %b\r\n%b\r\n" % (line, self._key, headers)


class _Connection(asyncio.Protocol):
    """Sends a request when the one before is answered."""

    def __init__(self, load: MixedLoad) -> None:
        self._load = load
        self._buffer = b""
        self._asked: tuple[str, int, bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or self._asked is None:
            return
        begin = buffer.index(b"content-length: ") + 16
        whole = end + 4 + int(buffer[begin : buffer.index(b"\r", begin)])
        if len(buffer) < whole:
            return
        self._buffer = b""
        kind, known, _ = self._asked
        self._asked = None
        self._load.answered(kind, known, int(buffer[9:12]), buffer[end + 4 : whole])
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        if self._asked is not None:
            self._load.lost()

    def _go_on(self) -> None:
        self._asked = self._load.next()
        if self._asked is None:
            self._transport.close()
        else:
            self._transport.write(self._asked[2])
