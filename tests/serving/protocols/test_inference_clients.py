"""The Open Inference Protocol against a real server, by the own Python clients of Triton and of KServe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.records import read_decisions
from tests.serving.example import Server, World, payments
from tests.serving.protocols.asking import WIDTH, columns
from tests.serving.protocols.environments import CLIENTS, said_by

pytestmark = pytest.mark.system  # the clients are installed

ROWS = np.random.default_rng(5).uniform(0, 5, (3, WIDTH)).astype(np.float32)
EVENTS = payments(range(9000, 9003))
NONE: dict[str, list[Any]] = {"score": [], "decision": []}
"""What is answered to no rows."""
DECISIONS = {"approve", "review", "decline"}


def told(python: Path, client: str, server: Server) -> dict[str, Any]:
    """What a client was answered."""
    wrong = [{"name": "features", "datatype": "FP32", "data": [[1.0, 2.0]]}]
    features = [{"name": "features", "datatype": "FP32", "data": ROWS.tolist()}]
    asked = {"features": features, "events": columns(EVENTS), "misfit": wrong}
    said: dict[str, Any] = said_by(python, CLIENTS / client, f"127.0.0.1:{server.port}", send=asked)
    return said


def check_outputs(server: Server, name: str, outputs: dict[str, Any]) -> None:
    """What was answered to features, or to events, is what the service's own routes answer."""
    if name.startswith("events"):
        answers = server.post("/v1/score", EVENTS).body
        for output in ("event_id", "decision_id", "decision"):
            if output in outputs:
                assert outputs[output] == [answer[output] for answer in answers]
        scores = [answer["score"] for answer in answers]
    else:
        scores = server.post("/v1/predict", {"features": ROWS.tolist()}).body["scores"]
        assert set(outputs["decision"]) <= DECISIONS
    assert np.array(outputs["score"], np.float32).tolist() == scores


def test_triton_s_client_is_served(shared: tuple[World, Server], python: Path) -> None:
    world, server = shared
    said = told(python, "triton.py", server)
    assert (said["live"], said["ready"], said["models ready"]) == (True, True, [True, True, False, False])
    assert said["server"]["extensions"] == ["binary_tensor_data"]
    assert said["models"] == [server.get("/v2/models/example").body] * 2
    answered = {name: value for name, value in said.items() if name.startswith(("features", "events"))}
    assert len(answered) == 12
    for name, response in answered.items():
        assert (response["model_name"], response["model_version"]) == ("example", "1")
        check_outputs(server, name, response["outputs"])
        by_default = name.endswith("default")
        ids = {"event_id", "decision_id"} if by_default and name.startswith("events") else set()
        assert set(response["outputs"]) == {"score", "decision"} | ids
        assert response.get("id") == ("7" if by_default else None)
        assert response["types"]["score"] == "float32"
    assert [said[f"none {in_bytes}"]["outputs"] for in_bytes in (True, False)] == [NONE, NONE]
    for name in ("plain", "later", "aio", "parameters"):
        check_outputs(server, name, said[name]["outputs"])
    assert said["aio"]["id"] == "aio"
    assert said["refused"] == {
        "model": ["404", "no model 'other' is deployed here; 'example' is"],
        "version": ["404", "version '2' of 'example' is not deployed; '1' is"],
        "output": [
            "400",
            "output 'x': there is none; there are score, decision, event_id, decision_id",
        ],
        "datatype": ["400", "input 'features': must be FP32 or FP64, not INT64"],
        "class": [
            "400",
            "output 'score': the parameter classification is of an extension that is not spoken",
        ],
        "input": ["400", f"input 'features': has the shape [1, 2], and must have [n, {WIDTH}]"],
        "compressed": ["415", "the body must not be compressed"],
        "metadata": ["404", "no model 'other' is deployed here; 'example' is"],
        "extension": ["404", "there is nothing at this path; /docs shows what there is"],
    }
    logged = [decision.event_id for decision in read_decisions(world.decisions)]
    assert sorted(logged) == [event["payment"] for event in EVENTS]


def test_kserve_s_client_is_served(shared: tuple[World, Server], python: Path) -> None:
    _, server = shared
    said = told(python, "kserve_rest.py", server)
    assert (said["live"], said["ready"], said["models ready"]) == (True, True, [True, False])
    answered = {name: value for name, value in said.items() if name.startswith(("features", "events"))}
    assert len(answered) == 8
    for name, response in (answered | {"features, some": said["outputs"]}).items():
        assert (response["id"], response["model_name"]) == ("7", "example")
        check_outputs(server, name, response["outputs"])
    assert [said[f"none {in_bytes}"]["outputs"] for in_bytes in (True, False)] == [NONE, NONE]
    refused = said["refused"]
    assert refused["output"].startswith("output 'x': there is none")
    assert refused["model"].startswith("no model 'other' is deployed here; 'example' is, '404 Not Found'")
    assert refused["input"].startswith("input 'features': has the shape [1, 2]")
