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
from serving.http import problem
from serving.instruments import REJECTED, REQUESTS
from serving.metrics import WorkerMetrics

__all__ = ["Shed", "shedding"]

Shed = Callable[[bytes], "bytes | None"]
"""The whole answer to these bytes, if they are a request that is turned away."""

_END = b"\r\n\r\n"
_HEADS, _HEAD_BYTES = 256, 4096  # so many are remembered, and none that is longer
_SCORE = re.compile(rb"POST /v1/score(\?\S*)? HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length *: *([0-9]{1,15}) *(?=\r\n)", re.IGNORECASE)
_UNUSUAL = re.compile(rb"\r\n(connection|transfer-encoding|expect|upgrade|x-request-id) *:", re.IGNORECASE)


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
    before += prefix.encode()
    after = b"\r\n\r\n" + response.body
    cells, numbers = metrics.cells, count()
    answered, rejected = REQUESTS.at("/v1/score", 503), REJECTED.at("queue")
    known: dict[bytes, int] = {}

    def shed(data: bytes) -> bytes | None:
        if batcher.events < batcher.limit:
            return None
        head = data[: data.find(_END) + len(_END)]
        size = known.get(head)
        if size is None:
            if len(head) > _HEAD_BYTES:
                return None
            if len(known) >= _HEADS:
                known.clear()
            size = known[head] = _whole(head)
        if size != len(data):
            return None
        cells[answered] += 1
        cells[rejected] += 1
        return b"%b%x%b" % (before, next(numbers), after)

    return shed


def _whole(head: bytes) -> int:
    """How long a request with this head is, if it is a plain one to score; else -1."""
    lengths = _LENGTH.findall(head)
    if _SCORE.match(head) is None or _UNUSUAL.search(head) is not None or len(lengths) != 1:
        return -1
    return len(head) + int(lengths[0])
