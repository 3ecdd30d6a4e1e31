"""While the queue is full: what every protocol answers, whether a request was read or turned away unread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import serving.members as members
import serving.protocols.open_inference as open_inference
from serving.app import App
from serving.instruments import REQUESTS, STAGES
from serving.shedding import shedding
from tests.serving.example import payments
from tests.serving.protocols.asking import INFER, columns
from tests.serving.protocols.worker import Worker

EVENTS = payments(range(8000, 8003))
VERSION = "/v2/models/{name}/versions/{version}/infer"
ROUTES = {
    "/invocations": ("/invocations", EVENTS),
    "/predict": ("/predict", {"instances": EVENTS}),
    "/score": ("/score", {"data": EVENTS}),
    INFER: ("/v2/models/{name}/infer", {"inputs": columns(EVENTS)}),
    "/v2/models/example/versions/1/infer": (VERSION, {"inputs": columns(EVENTS)}),
}


@pytest.fixture
def full(worker: Worker) -> Iterator[Worker]:
    worker.state.batcher.events = worker.state.batcher.limit
    yield worker
    worker.state.batcher.events = 0


@pytest.mark.parametrize("path", ROUTES)
def test_it_is_said_when_to_come_again_before_a_body_is_parsed(full: Worker, path: str) -> None:
    response = full.request("POST", path, b"{ no JSON at all")
    assert (response.status, response.headers) == (503, {b"retry-after": b"1"})
    said = msgspec.json.decode(response.body)
    if path.startswith("/v2"):
        assert said == {"error": "too many events wait to be scored"}
    else:
        assert (response.type, said["detail"]) == (
            b"application/problem+json",
            "too many events wait to be scored",
        )


@pytest.mark.parametrize("path", ROUTES)
def test_what_is_turned_away_unread_is_answered_and_counted_the_same(full: Worker, path: str) -> None:
    read = full.request("POST", path, b"")
    place = REQUESTS.at(ROUTES[path][0], 503)
    before = full.state.metrics.cells[place]
    shed = shedding(full.state.batcher, full.state.metrics, "r-", full.app.when_full)
    unread = shed(b"POST %b HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}" % path.encode())
    assert unread is not None
    head, _, body = unread.partition(b"\r\n\r\n")
    assert body == read.body
    assert {b"content-type: " + read.type, b"retry-after: 1"} <= set(head.split(b"\r\n"))
    assert full.state.metrics.cells[place] == before + 1


def test_a_path_that_vertex_ai_asks_is_its_route_s(worker: Worker) -> None:
    app = App(worker.state, aliases=[("POST", "/endpoints/17:predict", "/predict")])
    found = app.when_full("/endpoints/17:predict")
    assert found is not None and found[0] == "/predict"


@pytest.mark.parametrize(
    "path", ["/v1/predict", "/v1/labels", "/v1/admin/reload", "/ping", "/v2", "/nothing"]
)
def test_what_does_not_wait_in_the_queue_is_not_turned_away(worker: Worker, path: str) -> None:
    assert worker.app.when_full(path) is None


@pytest.mark.parametrize("path", ROUTES)
def test_the_time_of_parsing_is_counted_from_the_first_look_at_the_body(
    worker: Worker, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(read: Any) -> Any:
        def reading(*given: Any) -> Any:
            time.sleep(0.05)
            return read(*given)

        return reading

    monkeypatch.setattr(members, "decode_json", slow(members.decode_json))
    monkeypatch.setattr(open_inference, "read", slow(open_inference.read))
    series, cells = STAGES.of("parse"), worker.state.metrics.cells
    seconds, events = cells[series.sum], sum(cells[series.start : series.sum])
    assert worker.post(path, ROUTES[path][1])[0] == 200
    assert cells[series.sum] - seconds >= 0.05
    assert sum(cells[series.start : series.sum]) - events == len(EVENTS)
