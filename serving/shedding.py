"""Turning requests away for less than reading them costs.

While the queue is full, most of what comes is refused, and each refusal takes from what could be answered. So a request
to a route whose events wait there, that came whole and asks for nothing unusual, is told to come again from a look at
its bytes: before it is parsed, before its key is checked. Everything else takes the usual way, and meets the same queue
there. Callers send the same head again and again, so what a head says is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from serving.batcher import Batcher
from serving.http import REQUEST_ID, Response
from serving.instruments import REJECTED, REQUESTS
from serving.metrics import WorkerMetrics

__all__ = ["Shed", "shedding"]

Shed = Callable[[bytes], "bytes | None"]
"""The whole answer to these bytes, if they are a request that is turned away."""

WhenFull = Callable[[str], "tuple[str, Response] | None"]
"""What is answered at a path while the queue is full, and the path of its route; see `serving.app.App.when_full`."""


class _Head(NamedTuple):
    """What is said of requests with one head: how long they are, and their answer around its id.

    Fields:
        size: -1 if they take the usual way.
        id: that they bring, if any.
        answered: where their answers are counted.
    """

    size: int = -1
    id: bytes = b""
    before: bytes = b""
    after: bytes = b""
    answered: int = 0


_NOT_PLAIN = _Head()
_END = b"\r\n\r\n"
_HEADS, _HEAD_BYTES = 256, 4096  # so many are remembered, and none that is longer
_POST = re.compile(rb"POST (/[!-$&->@-~]*)(\?\S*)? HTTP/1\.1\r\n")  # no % in the path
_LENGTH = re.compile(rb"\r\ncontent-length *: *([0-9]{1,15}) *(?=\r\n)", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-request-id *:([^\r]*)(?=\r\n)", re.IGNORECASE)
_UNUSUAL = re.compile(rb"\r\n(connection|transfer-encoding|expect|upgrade) *:", re.IGNORECASE)


def shedding(batcher: Batcher, metrics: WorkerMetrics, prefix: str, when_full: WhenFull) -> Shed:
    """What sheds for a worker.

    Args:
        prefix: of the request ids that it gives.
    """
    cells, numbers = metrics.cells, count()
    rejected, ids = REJECTED.at("queue"), prefix.encode()
    known: dict[int, _Head] = {}

    def shed(data: bytes) -> bytes | None:
        if batcher.events < batcher.limit:
            return None
        head = data[: data.find(_END) + len(_END)]
        what = known.get(hash(head))  # not the head itself, which has a key in it
        if what is None:
            if len(head) > _HEAD_BYTES:
                return None
            if len(known) >= _HEADS:
                known.clear()
            what = known[hash(head)] = _read(head, when_full)
        size, name, before, after, answered = what
        if size != len(data):
            return None
        cells[answered] += 1
        cells[rejected] += 1
        return b"%b%b%b" % (before, name or b"%b%x" % (ids, next(numbers)), after)

    return shed


def _read(head: bytes, when_full: WhenFull) -> _Head:
    """What a head says; its request is not plain where it says so, or does not wait in the queue."""
    lengths, names = _LENGTH.findall(head), [name.strip() for name in _ID.findall(head)]
    asked = _POST.match(head)
    if asked is None or _UNUSUAL.search(head) is not None or len(lengths) != 1:
        return _NOT_PLAIN
    if len(names) > 1 or not all(map(REQUEST_ID.fullmatch, names)):
        return _NOT_PLAIN
    refused = when_full(asked[1].decode("ascii"))
    if refused is None:
        return _NOT_PLAIN
    route, response = refused
    more = b"".join(b"%b: %b\r\n" % pair for pair in (response.headers or {}).items())
    before = (
        b"HTTP/1.1 %d Service Unavailable\r\ncontent-type: %b\r\ncontent-length: %d\r\n%bx-request-id: "
        % (
            response.status,
            response.type,
            len(response.body),
            more,
        )
    )
    return _Head(
        size=len(head) + int(lengths[0]),
        id=names[0] if names else b"",
        before=before,
        after=_END + response.body,
        answered=REQUESTS.at(route, response.status),
    )
