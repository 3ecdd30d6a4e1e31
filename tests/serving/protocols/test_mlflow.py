"""MLflow's scoring protocol, asked for by MLflow's own client and in every format that its documents name."""

from __future__ import annotations

import io
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from mlops.bundle import open_bundle
from mlops.model import open_model
from mlops.records import read_decisions
from mlops.signing import PUBLIC_KEY
from serving.protocols import mlflow as spoken
from tests.serving.example import FEATURES, Server, World, payment, payments
from tests.serving.protocols.asking import ROWS

NAMES = FEATURES.names


@pytest.fixture
def client(server: Server) -> ScoringServerClient:
    return ScoringServerClient("127.0.0.1", server.port)


@pytest.fixture(scope="module")
def scores(shared: tuple[World, Server]) -> list[float]:
    """What the model itself says of the rows."""
    world, _ = shared
    model = open_model(open_bundle(world.home / "bundles" / "first", public_key=world.keys / PUBLIC_KEY))
    return [float(score) for score in model(np.array(ROWS, np.float32))]


def test_its_client_finds_the_server_ready_and_of_the_version_that_is_installed(
    client: ScoringServerClient,
) -> None:
    client.wait_server_ready(timeout=10)
    assert mlflow.__version__.startswith(f"{client.get_version()}."), (
        "hold the protocol against the new version"
    )
    assert client.get_version() == spoken.SPOKEN


def test_its_client_gets_scores_for_a_frame_of_features_in_any_order(
    client: ScoringServerClient, scores: list[float]
) -> None:
    frame = pd.DataFrame(ROWS, columns=NAMES)[list(NAMES[::-1])]
    predictions = client.invoke(frame).get_predictions("ndarray")
    assert predictions.tolist() == scores


def test_its_client_gets_scores_for_an_array_and_a_list(
    client: ScoringServerClient, scores: list[float]
) -> None:
    assert client.invoke(np.array(ROWS)).get_predictions("ndarray").tolist() == scores
    assert client.invoke([dict(zip(NAMES, row, strict=True)) for row in ROWS])["predictions"] == scores


def test_its_client_gets_decisions_for_a_frame_of_events(
    shared: tuple[World, Server], client: ScoringServerClient
) -> None:
    world, server = shared
    frame = pd.DataFrame([*payments(range(4)), payment(4, items=None, abroad=None)])
    assert frame["items"].dtype == float  # as pandas has integers with gaps
    answered = client.invoke(frame, params={}).get_predictions()
    assert answered["event_id"].tolist() == [0, 1, 2, 3, 4]
    again = server.post("/v1/score", payments(range(4))).body
    assert answered["decision_id"].tolist()[:4] == [answer["decision_id"] for answer in again]
    logged = {decision.decision_id for decision in read_decisions(world.decisions)}
    assert set(answered["decision_id"]) <= logged


def test_every_format_gives_the_same_predictions(server: Server, scores: list[float]) -> None:
    records = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    columns = {name: [row[n] for row in ROWS] for n, name in enumerate(NAMES)}
    csv = io.StringIO()
    pd.DataFrame(ROWS, columns=NAMES).to_csv(csv, index=False)
    bodies: list[tuple[Any, str]] = [
        ({"dataframe_split": {"columns": list(NAMES), "index": [0, 1, 2], "data": ROWS}}, "application/json"),
        ({"dataframe_records": records}, "application/json; charset=utf-8"),
        ({"instances": ROWS}, "application/json"),
        ({"instances": records, "params": None}, "application/json"),
        ({"inputs": ROWS}, "application/json"),
        ({"inputs": columns}, "application/json"),
        ({"inputs": {name: [[value] for value in values] for name, values in columns.items()}}, ""),
        (csv.getvalue().encode(), "text/csv"),
    ]
    for body, type_ in bodies:
        reply = server.request("POST", "/invocations", body, {"content-type": type_} if type_ else {})
        assert (reply.status, reply.body) == (200, {"predictions": scores}), body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"dataframe_split": {"data": ROWS}, "instances": ROWS}, None),
        ({"instances": ROWS, "params": {"temperature": 1}}, "params"),
        ({"dataframe_split": {"columns": ["amount"], "data": [[1, 2]]}}, "dataframe_split.data[0]"),
        ({"dataframe_records": [payment(1, amount="much")]}, "[0].amount"),
        ({"inputs": {"amount": 1}}, "inputs.amount"),
        ({"instances": [[1.0]]}, "[0]"),
        ({"instances": "ab"}, "instances"),
    ],
)
def test_what_does_not_fit_is_a_problem_that_names_its_place(
    server: Server, body: Any, field: str | None
) -> None:
    reply = server.post("/invocations", body)
    assert (reply.status, reply.type) == (422, "application/problem+json")
    assert reply.body.get("field") == field


def test_another_type_than_its_own_is_refused_as_mlflow_refuses_it(server: Server) -> None:
    for type_ in ("application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        assert server.request("POST", "/invocations", b"{}", {"content-type": type_}).status == 415


def test_the_formats_are_those_that_mlflow_has() -> None:
    assert set(spoken._FORMATS) == scoring_server.SUPPORTED_FORMATS


def test_health_says_whether_a_model_answers(tmp_path_factory: pytest.TempPathFactory) -> None:
    world = World(tmp_path_factory.mktemp("empty"))
    with world.server() as server:
        assert [server.get(path).status for path in ("/ping", "/health")] == [503, 503]
        assert server.post("/invocations", {"inputs": ROWS}).status == 503
        world.deploy("1", world.bundle())
        server.wait_for("version", "1")
        assert [server.get(path).status for path in ("/ping", "/health")] == [200, 200]
