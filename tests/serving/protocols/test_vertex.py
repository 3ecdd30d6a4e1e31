"""Vertex AI's contract for custom containers: its variables, its two routes, its bodies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from serving.protocols.vertex import aliases
from tests.serving.example import Server, World, payment, payments
from tests.serving.protocols.asking import ROWS

DEFAULT = "/v1/endpoints/17/deployedModels/42"
"""What both routes are where a model was uploaded without any (with `:predict`, and without)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    world = World(tmp_path_factory.mktemp("vertex"))
    world.deploy("1", world.bundle())
    asked = {"AIP_HEALTH_ROUTE": f"{DEFAULT}:predict", "AIP_PREDICT_ROUTE": f"{DEFAULT}:predict"}
    with world.server(env=os.environ | asked) as server:
        yield server


@pytest.mark.parametrize("path", ["/predict", f"{DEFAULT}:predict"])
def test_instances_get_predictions_at_the_path_that_vertex_asks(server: Server, path: str) -> None:
    scores = server.post("/v1/predict", {"features": ROWS}).body["scores"]
    assert server.post(path, {"instances": ROWS}).body == {"predictions": scores}
    answers = server.post("/v1/score", payments(range(3))).body
    assert server.post(path, {"instances": payments(range(3)), "parameters": {}}).body == {
        "predictions": answers
    }
    assert server.post(path, {"instances": []}).body == {"predictions": []}


def test_health_is_told_at_the_same_path(server: Server) -> None:
    assert [server.get(path).status for path in ("/health", f"{DEFAULT}:predict")] == [200, 200]
    assert server.get(DEFAULT).status == 404


def test_requests_at_its_paths_are_counted_under_the_route(server: Server) -> None:
    server.post(f"{DEFAULT}:predict", {"instances": []})
    assert 'mlops_requests_total{route="/predict",status="200"}' in server.text("/metrics")


def test_a_route_that_the_service_has_is_left_as_it_is(world: World) -> None:
    """Raw predictions may be sent to any of them, and Vertex may ask any for its health."""
    asked = {"AIP_HEALTH_ROUTE": "/readyz", "AIP_PREDICT_ROUTE": "/v1/score"}
    with world.server(env=os.environ | asked) as server:
        assert server.get("/readyz").body["status"] == "ready"
        assert server.post("/v1/score", payment(1)).body["event_id"] == 1
        refused = server.post("/v1/score", {"instances": [payment(2)]})
        assert (refused.status, refused.body["field"]) == (422, "payment")
        assert server.post("/predict", {"instances": [payment(2)]}).status == 200


def test_without_its_variables_there_are_no_other_paths() -> None:
    assert aliases({}) == aliases({"AIP_HEALTH_ROUTE": "", "AIP_PREDICT_ROUTE": ""}) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "instances"),
        ({}, "instances"),
        ({"instances": None}, "instances"),
        ({"instances": [1]}, "[0]"),
        ({"instances": [payment(5, amount=-1)]}, "[0].amount"),
        ({"instances": [payment(5), ROWS[0]]}, "[1]"),
        ({"instances": ROWS, "parameters": {"confidence": 0.5}}, "parameters"),
    ],
)
def test_what_does_not_fit_is_a_problem_that_names_its_place(server: Server, body: Any, field: str) -> None:
    reply = server.post("/predict", body)
    assert (reply.status, reply.type, reply.body["field"]) == (422, "application/problem+json", field)
