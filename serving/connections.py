"""All connections of a worker: what may be open, for how long, and how they end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate

import msgspec

from serving.http import Request, Response
from serving.protocol import Connection
from serving.shedding import Shed

__all__ = ["Connections", "Limits"]

App = Callable[[Request], Response | Awaitable[Response]]
Failed = Callable[[Request, BaseException], Response]
Answered = Callable[[Request, Response], None]
Admit = Callable[[Mapping[bytes, bytes]], None]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may cost.

    Fields:
        body_bytes: of a request.
        timeout_s: from the first byte of a request to its last, and for an answer to be read.
        idle_s: without a request.
        connections: at a time.
        held_bytes: of all bodies that are not answered, whole or not.
    """

    body_bytes: int
    timeout_s: float
    idle_s: float
    connections: int
    held_bytes: int


class Connections:
    """All connections of a worker.

    Args:
        app: what answers a request.
        failed: what answers one that `app`, or what it gave to await, raised for; or that cannot be read.
        answered: told of each answer.
        admit: raises where the head of a request that brings more than 64 KiB is a stranger's.
        shed: the whole answer to bytes that begin a request, if it is to be turned away unread.
    """

    def __init__(
        self,
        app: App,
        failed: Failed,
        answered: Answered,
        limits: Limits,
        *,
        admit: Admit = lambda headers: None,
        shed: Shed = lambda data: None,
    ) -> None:
        self.app = app
        self.failed = failed
        self.answered = answered
        self.limits = limits
        self.admit = admit
        self.shed = shed
        self.open: set[Connection] = set()
        self.held = 0
        self.draining = False
        self.date = _date()

    def __call__(self) -> Connection:
        """The protocol of a connection that was accepted."""
        return Connection(self)

    def sweep(self) -> None:
        """End what takes too long; to be called every second or so."""
        now, self.date = time.perf_counter(), _date()
        for connection in list(self.open):
            connection.check_age(now)

    def drain(self) -> None:
        """Let each connection end with its next answer."""
        self.draining = True

    def close_idle(self) -> None:
        """Close those that have nothing in hand."""
        for connection in list(self.open):
            if not connection.busy:
                connection.close()

    def abort(self) -> None:
        """Close all, whatever they have in hand."""
        for connection in list(self.open):
            connection.abort()


def _date() -> bytes:
    return f"date: {formatdate(usegmt=True)}\r\n".encode()
