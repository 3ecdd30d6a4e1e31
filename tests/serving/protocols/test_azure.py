"""Azure Machine Learning's scoring bodies, by the examples of its documents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.example import FEATURES, Server, payment, payments
from tests.serving.protocols.asking import ROWS

NAMES = FEATURES.names
EVENTS = payments(range(3))
COLUMNS = list(EVENTS[0])


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": {"columns": list(NAMES), "index": [0, 1, 2], "data": ROWS}},
        {"input_data": ROWS},
        {"input_data": [dict(zip(NAMES, row, strict=True)) for row in ROWS]},
        {"input_data": {name: [row[n] for row in ROWS] for n, name in enumerate(NAMES)}, "params": {}},
        {"data": ROWS},
    ],
)
def test_features_get_a_list_of_scores(server: Server, body: Any) -> None:
    assert server.post("/score", body).body == server.post("/v1/predict", {"features": ROWS}).body["scores"]


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": {"columns": COLUMNS, "data": [list(event.values()) for event in EVENTS]}},
        {"input_data": EVENTS},
        {"data": EVENTS},
    ],
)
def test_events_get_a_list_of_decisions(server: Server, body: Any) -> None:
    assert server.post("/score", body).body == server.post("/v1/score", EVENTS).body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "input_data"),
        ({}, "input_data"),
        ({"input_data": ROWS, "data": ROWS}, "input_data"),
        ({"input_data": 5}, "input_data"),
        ({"input_data": {"columns": ["amount"], "data": [[1, 2]]}}, "input_data.data[0]"),
        ({"input_data": [payment(1, amount=None)]}, "[0].amount"),
        ({"data": ROWS, "params": {"a": 1}}, "params"),
    ],
)
def test_what_does_not_fit_is_a_problem_that_names_its_place(server: Server, body: Any, field: str) -> None:
    reply = server.post("/score", body)
    assert (reply.status, reply.type, reply.body["field"]) == (422, "application/problem+json", field)
