"""Turning requests away for less than reading them costs.

While the queue is full, most of what comes is refused, and each refusal takes from what could be answered. So a request
to score that came whole, and asks for nothing unusual, is told to come again from a look at its bytes: before it is
parsed, before its key is checked. Everything else takes the usual way, and meets the same queue there. Callers send the
same head again and again, so what a head says is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

from serving.batcher import Batcher, full
from serving.http import REQUEST_ID, problem
from serving.instruments import REJECTED, REQUESTS
from serving.metrics import WorkerMetrics

__all__ = ["Shed", "shedding"]

Shed = Callable[[bytes], "bytes | None"]
"""The whole answer to these bytes, if they are a request that is turned away."""

Head = tuple[int, bytes]
"""How long a plain request with this head is, and the id that it brings, if any."""

_NOT_PLAIN = (-1, b"")
_END = b"\r\n\r\n"
_HEADS, _HEAD_BYTES = 256, 4096  # so many are remembered, and none that is longer
_SCORE = re.compile(rb"POST /v1/score(\?\S*)? HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length *: *([0-9]{1,15}) *(?=\r\n)", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-request-id *:([^\r]*)(?=\r\n)", re.IGNORECASE)
_UNUSUAL = re.compile(rb"\r\n(connection|transfer-encoding|expect|upgrade) *:", re.IGNORECASE)


def shedding(batcher: Batcher, metrics: WorkerMetrics, prefix: str) -> Shed:
    """What sheds for a worker.

    Args:
        prefix: of the request ids that it gives.
    """
    refusal = full()
    response = problem(refusal.status, refusal.detail, headers=refusal.headers)
    assert response.headers is not None
    lines = b"".join(b"%b: %b\r\n" % pair for pair in response.headers.items())
    before = (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: %b\r\ncontent-length: %d\r\n%bx-request-id: "
        % (
            response.type,
            len(response.body),
            lines,
        )
    )
    after = b"\r\n\r\n" + response.body
    cells, numbers = metrics.cells, count()
    answered, rejected = REQUESTS.at("/v1/score", 503), REJECTED.at("queue")
    ours = before + prefix.encode()
    known: dict[int, Head] = {}

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
            what = known[hash(head)] = _read(head)
        size, name = what
        if size != len(data):
            return None
        cells[answered] += 1
        cells[rejected] += 1
        if name:
            return b"%b%b%b" % (before, name, after)
        return b"%b%x%b" % (ours, next(numbers), after)

    return shed


def _read(head: bytes) -> Head:
    """What a head says; its request is not plain where it says so, or is not one to score."""
    lengths, names = _LENGTH.findall(head), [name.strip() for name in _ID.findall(head)]
    if _SCORE.match(head) is None or _UNUSUAL.search(head) is not None or len(lengths) != 1:
        return _NOT_PLAIN
    if len(names) > 1 or not all(map(REQUEST_ID.fullmatch, names)):
        return _NOT_PLAIN
    return len(head) + int(lengths[0]), names[0] if names else b""
