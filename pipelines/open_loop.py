"""A load generator that sends when it is time to, whatever the server does (an open loop).

Requests have times to be sent at, drawn beforehand as those of many independent callers (a Poisson process), and
latency counts from there. A server that stalls is not spared the requests that would have come meanwhile, as it is by a
generator whose connections wait for their answers before they ask again (coordinated omission: Tene, How NOT to
Measure Latency, 2015). One thread, sockets and epoll: at low rates it looks for answers without sleeping, since a
sleep is less exact than what is measured, so it wants a core to itself.
"""

from __future__ import annotations

import gc
import select
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import msgspec
import numpy as np

from mlops.errors import SetupError

__all__ = ["CONNECTIONS", "Offered", "offer"]

CONNECTIONS = 512
"""Enough that a queue of 128 overflows, and is still full when its answers come."""

_MOST_SENT = 64  # before answers are looked for again
_PATIENCE_S = 10.0  # for the last answers
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests.

    Fields:
        rate: asked for, requests/s. seconds: from the first request's time to the last one's.
        statuses: answers by status; "dropped": the connection was closed instead; "unanswered": not within 10 s.
        goodput_rps: answers with 200, a second.
        p50_ms, p99_ms, max_ms: from a request's time to its whole answer, of answers with 200; nan without any.
        sent_late_p99_ms: from a request's time until it was sent: the generator's own delay, and its wait for a
            connection. It is part of the latency.
    """

    rate: float
    seconds: float
    requests: int
    statuses: dict[str, int]
    goodput_rps: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    sent_late_p99_ms: float


def offer(
    address: tuple[str, int],
    requests: Sequence[bytes],
    rate: float,
    *,
    connections: int = CONNECTIONS,
    seed: int = 0,
) -> Offered:
    """Send whole HTTP/1.1 requests, in their order, `rate` a second on average, each on a connection that is free.

    Raises:
        SetupError: nobody listens, or an answer is no HTTP/1.1 with a Content-Length.
    """
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, len(requests)))
    run = _Run(address, requests, due.tolist(), connections)
    with _without_gc():
        try:
            run.go()
        finally:
            run.close()
    seconds = float(due[-1])
    good = np.array(run.latencies) * 1000
    p50, p99, most = np.percentile(good, (50, 99, 100)) if len(good) else (np.nan,) * 3
    return Offered(
        rate=rate,
        seconds=round(seconds, 3),
        requests=len(requests),
        statuses=dict(sorted(run.statuses.items())),
        goodput_rps=round(len(good) / max(seconds, run.last - run.first), 1),
        p50_ms=round(float(p50), 3),
        p99_ms=round(float(p99), 3),
        max_ms=round(float(most), 3),
        sent_late_p99_ms=round(float(np.percentile(run.late, 99)) * 1000, 3),
    )


class _Run:
    """The state of one run; times are those of `perf_counter`.

    Args:
        due: seconds after the start.
    """

    def __init__(
        self, address: tuple[str, int], requests: Sequence[bytes], due: list[float], connections: int
    ) -> None:
        self._address, self._requests, self._due = address, requests, due
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._asked: dict[int, float] = {}  # descriptor → when the request that it waits for was due
        self._parts: dict[int, bytes] = {}  # descriptor → the begin of an answer
        self._free = [self._connect() for _ in range(connections)]
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.first = self.last = 0.0

    def go(self) -> None:
        """Send all, and wait for the answers."""
        self.first = self.last = start = perf_counter()
        due = [start + seconds for seconds in self._due]
        at, count = 0, len(due)
        end = due[-1] + _PATIENCE_S
        while at < count or self._asked:
            now = perf_counter()
            until = min(count, at + _MOST_SENT)
            while at < until and due[at] <= now and self._free:
                self._send(due[at], self._requests[at])
                at += 1
            if now > end:
                break
            # epoll waits for whole milliseconds, which is too coarse when one is due.
            wait = 0.001 if at == count or not self._free or due[at] - now > 0.002 else 0.0
            for descriptor, _ in self._poll.poll(wait):
                self._receive(descriptor)
        self.statuses["unanswered"] += len(self._asked) + count - at
        self.statuses = +self.statuses

    def close(self) -> None:
        """Let go of all connections."""
        for connection in self._sockets.values():
            connection.close()
        self._poll.close()

    def _connect(self) -> int:
        try:
            connection = socket.create_connection(self._address, timeout=_PATIENCE_S)
        except OSError as error:
            raise SetupError(
                f"cannot be reached: {error}", where=f"{self._address[0]}:{self._address[1]}"
            ) from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        descriptor = connection.fileno()
        self._sockets[descriptor] = connection
        self._poll.register(descriptor, select.EPOLLIN)
        return descriptor

    def _send(self, due: float, request: bytes) -> None:
        descriptor = self._free.pop()
        self.late.append(perf_counter() - due)
        self._asked[descriptor] = due
        try:
            if self._sockets[descriptor].send(request) != len(request):
                raise SetupError(f"a request of {len(request)} bytes is too long to be sent at once")
        except (BrokenPipeError, ConnectionResetError):
            self._drop(descriptor)

    def _receive(self, descriptor: int) -> None:
        try:
            got = self._sockets[descriptor].recv(65_536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            got = b""
        if not got:
            self._drop(descriptor)
            return
        if descriptor in self._parts:
            got = self._parts.pop(descriptor) + got
        head = got.find(_HEAD_END)
        if head < 0 or len(got) < head + 4 + _content_length(got, head):
            self._parts[descriptor] = got
            return
        self.last = perf_counter()
        asked = self._asked.pop(descriptor)
        status = got[9:12].decode()
        self.statuses[status] += 1
        if status == "200":
            self.latencies.append(self.last - asked)
        self._free.append(descriptor)

    def _drop(self, descriptor: int) -> None:
        """The server has closed it: after an answer that said so, or instead of one."""
        self._sockets.pop(descriptor).close()
        self._parts.pop(descriptor, None)
        if self._asked.pop(descriptor, None) is not None:
            self.statuses["dropped"] += 1
        else:
            self._free.remove(descriptor)
        self._free.append(self._connect())


def _content_length(answer: bytes, head: int) -> int:
    at = answer.find(_LENGTH, 0, head)
    if at < 0:
        at = answer[:head].lower().find(_LENGTH)
    if at < 0:
        raise SetupError("an answer has no Content-Length", where=answer[:64].decode("latin-1"))
    start = at + len(_LENGTH)
    return int(answer[start : answer.find(b"\r", start)])


@contextmanager
def _without_gc() -> Iterator[None]:
    """A collection takes longer than what is measured, and nothing here makes cycles."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
