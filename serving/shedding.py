"""Turning requests away for less than reading them costs.

While the queue is full, most of what comes is refused, and each refusal takes from what could be answered. So a request
to score that came whole, and asks for nothing unusual, is told to come again from a look at its bytes: before it is
parsed, before its key is checked. Everything else takes the usual way, and meets the same queue there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from serving.batcher import Batcher, full
from serving.http import problem
from serving.instruments import REJECTED, REQUESTS
from serving.metrics import WorkerMetrics

__all__ = ["Shed", "shedding"]

Shed = Callable[[bytes], "bytes | None"]
"""The whole answer to these bytes, if they are a request that is turned away."""

_SCORE = (b"POST /v1/score HTTP/1.1\r", b"POST /v1/score?")
_LENGTH = b"\r\ncontent-length: "
_UNUSUAL = (
    b"\r\nconnection:",
    b"\r\ntransfer-encoding:",
    b"\r\nexpect:",
    b"\r\nupgrade:",
    b"\r\nx-request-id:",
)


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

    def shed(data: bytes) -> bytes | None:
        if batcher.events < batcher.limit or not data.startswith(_SCORE):
            return None
        end = data.find(b"\r\n\r\n")
        head = data[: end + 2].lower()
        if not head[: head.find(b"\r")].endswith(b" http/1.1"):
            return None
        at = head.find(_LENGTH) + len(_LENGTH)
        length = head[at : head.find(b"\r", at)]
        if at < len(_LENGTH) or not length.isdigit() or len(data) != end + 4 + int(length):
            return None
        for name in _UNUSUAL:
            if name in head:
                return None
        cells[answered] += 1
        cells[rejected] += 1
        return b"%b%x%b" % (before, next(numbers), after)

    return shed
