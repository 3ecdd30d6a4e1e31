"""What is turned away unread, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from unittest.mock import Mock

import msgspec
import pytest

import serving.shedding as shedding_module
from serving.batcher import Batcher
from serving.events import Event
from serving.http import problem
from serving.instruments import REJECTED, REQUESTS
from serving.metrics import WorkerMetrics
from serving.shared import Shared
from serving.shedding import shedding

FULL = {"/v1/score": ("/v1/score", problem(503, "full", headers={b"retry-after": b"1"}))}
WHOLE = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nContent-Length: 2\r\n\r\n{}"


def with_batcher(full: bool, work: Callable[[Callable[[bytes], bytes | None], WorkerMetrics], None]) -> None:
    async def inside() -> None:
        batcher = Batcher(lambda requests, callers: [[b""] for _ in requests], limit=1)
        if full:
            batcher.submit([Event(1, 1, {})], "", list)
        metrics = WorkerMetrics(Shared.create(1))
        work(shedding(batcher, metrics, "r-", FULL.get), metrics)

    asyncio.run(inside())


def test_a_whole_request_to_score_is_refused_with_a_problem_that_says_when_to_come_again() -> None:
    def work(shed: Callable[[bytes], bytes | None], metrics: WorkerMetrics) -> None:
        first, second = shed(WHOLE), shed(WHOLE)
        assert first is not None and second is not None
        head, _, body = first.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 503 Service Unavailable"
        assert b"retry-after: 1" in lines
        assert b"content-length: %d" % len(body) in lines
        assert b"x-request-id: r-0" in lines
        assert b"x-request-id: r-1" in second
        assert msgspec.json.decode(body)["status"] == 503
        assert metrics.cells[REQUESTS.at("/v1/score", 503)] == metrics.cells[REJECTED.at("queue")] == 2

    with_batcher(True, work)


def test_nothing_is_refused_while_there_is_room() -> None:
    with_batcher(False, lambda shed, metrics: _none(shed, WHOLE))


@pytest.mark.parametrize(
    "data",
    [
        WHOLE[:-1],
        WHOLE + b"P",
        WHOLE + WHOLE,
        WHOLE.replace(b"/v1/score", b"/v1/labels"),
        WHOLE.replace(b"POST", b"PUT"),
        WHOLE.replace(b"/v1/score", b"/v1/scoreboard"),
        WHOLE.replace(b"/v1/score", b"/v1/%73core"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE.replace(b"Host: x", b"Connection: close"),
        WHOLE.replace(b"Host: x", b"X-Request-Id: mi ne"),
        WHOLE.replace(b"Host: x", b"X-Request-Id: one\r\nX-Request-Id: two"),
        WHOLE.replace(b"Host: x", b"Transfer-Encoding: chunked"),
        WHOLE.replace(b"Host: x", b"Expect: 100-continue"),
        WHOLE.replace(b"Content-Length: 2", b"Content-Length: -2"),
        WHOLE.replace(b"Content-Length: 2", b"Content-Length: two"),
        WHOLE.replace(b"Content-Length: 2\r\n", b""),
        WHOLE.replace(b"Host: x", b"Content-Length: 2"),
        WHOLE.replace(b"Host: x", b"Content-Length : 1"),
        WHOLE.replace(b"Host: x", b"Host: " + b"x" * 5_000),
        b"POST /v1/score",
        b"",
    ],
)
def test_what_is_not_plain_and_whole_is_read_as_usual(data: bytes) -> None:
    with_batcher(True, lambda shed, metrics: _none(shed, data))


def test_a_plain_id_that_a_request_brings_is_its_answer_s() -> None:
    def work(shed: Callable[[bytes], bytes | None], metrics: WorkerMetrics) -> None:
        refused = shed(WHOLE.replace(b"Host: x", b"X-Request-Id:  mine-7 "))
        assert refused is not None and b"\r\nx-request-id: mine-7\r\n" in refused

    with_batcher(True, work)


def test_what_a_head_says_is_read_once_and_holds_for_whole_requests_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Mock(wraps=shedding_module._read)
    monkeypatch.setattr(shedding_module, "_read", read)

    def work(shed: Callable[[bytes], bytes | None], metrics: WorkerMetrics) -> None:
        for _ in range(2):
            assert shed(WHOLE) and shed(WHOLE[:-2] + b"[]")
            _none(shed, WHOLE[:-1])
            _none(shed, WHOLE + b"P")
        assert read.call_count == 1
        for number in range(1_000):  # more than are remembered
            assert shed(WHOLE.replace(b"Host: x", b"Host: %d" % number))
        assert shed(WHOLE)
        assert read.call_count == 1_002

    with_batcher(True, work)


def _none(shed: Callable[[bytes], bytes | None], data: bytes) -> None:
    assert shed(data) is None
