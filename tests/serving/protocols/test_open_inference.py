"""Scoring by the Open Inference Protocol, in this process: features and events in, in JSON and bytes, tensors out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mlops.records import read_decisions
from serving.protocols.binary import DTYPES
from tests.serving.example import FEATURES, World, payment, payments
from tests.serving.protocols.asking import INFER, LENGTH, WIDTH, columns, features, framed
from tests.serving.protocols.worker import Worker, working
from tests.serving.test_plain import FEATURES as AREA
from tests.serving.test_plain import RENT

ROWS = np.random.default_rng(3).uniform(0, 5, (4, WIDTH)).astype(np.float32)


def outputs(body: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: output["data"] for output in body["outputs"]}


def predicted(worker: Worker, rows: np.ndarray) -> list[float]:
    scores: list[float] = worker.post("/v1/predict", {"features": rows.tolist()})[1]["scores"]
    return scores


def unframed(body: bytes, headers: Any) -> tuple[dict[str, Any], bytes]:
    length = int(headers[LENGTH.lower().encode()])
    return msgspec.json.decode(body[:length]), body[length:]


@pytest.mark.parametrize("path", [INFER, "/v2/models/example/versions/1/infer"])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_features_in_json_get_the_model_s_scores(
    at_work: tuple[World, Worker], path: str, nested: bool, datatype: str
) -> None:
    world, worker = at_work
    before = len(list(read_decisions(world.decisions)))
    data = ROWS.tolist() if nested else ROWS.ravel().tolist()
    asked = {"id": "7", "inputs": [features(data, [4, WIDTH], datatype)], "model_name": "tolerated"}
    status, body = worker.post(path, asked)
    scores = predicted(worker, ROWS)
    assert (status, body) == (
        200,
        {
            "model_name": "example",
            "model_version": "1",
            "id": "7",
            "outputs": [
                {"name": "score", "datatype": "FP32", "shape": [4], "data": scores},
                {"name": "decision", "datatype": "BYTES", "shape": [4], "data": outputs(body)["decision"]},
            ],
        },
    )
    assert outputs(body)["decision"] == [
        "decline" if score >= 0.6 else "review" if score >= 0.5 else "approve" for score in scores
    ]
    assert len(list(read_decisions(world.decisions))) == before


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_features_in_bytes_get_the_same_in_bytes(worker: Worker, datatype: str) -> None:
    data = ROWS.astype(DTYPES[datatype]).tobytes()
    given = {"name": "features", "datatype": datatype, "shape": [4, WIDTH]}
    given["parameters"] = {"binary_data_size": len(data)}
    for padding in range(4):  # the bytes begin anywhere
        asked = {"id": "x" * padding, "inputs": [given], "parameters": {"binary_data_output": True}}
        response = worker.request("POST", INFER, *framed(asked, data))
        assert (response.status, response.type) == (200, b"application/octet-stream")
        said, behind = unframed(response.body, response.headers)
        sizes = [output["parameters"]["binary_data_size"] for output in said["outputs"]]
        assert (sizes[0], sum(sizes)) == (16, len(behind))
        assert np.frombuffer(behind[:16], "<f4").tolist() == predicted(worker, ROWS)
        length = struct.unpack_from("<I", behind, 16)[0]
        assert behind[20 : 20 + length].decode() in ("approve", "review", "decline")


def test_features_by_name_are_taken_too(worker: Worker) -> None:
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [4, 1], "data": ROWS[:, [n]].tolist()}
        for n, name in reversed(list(enumerate(FEATURES.names)))
    ]
    status, body = worker.post(INFER, {"inputs": inputs})
    assert (status, outputs(body)["score"]) == (200, predicted(worker, ROWS))


def test_events_are_counted_decided_and_logged(at_work: tuple[World, Worker]) -> None:
    world, worker = at_work
    events = payments(range(5000, 5003))
    status, body = worker.post(INFER, {"inputs": columns(events)})
    assert status == 200
    given = outputs(body)
    _, answers = worker.post("/v1/score", events)
    for name in ("event_id", "decision_id", "score", "decision"):
        assert given[name] == [answer[name] for answer in answers]
    logged = {decision.decision_id: decision.score for decision in read_decisions(world.decisions)}
    assert [logged[id_] for id_ in given["decision_id"]] == given["score"]


def test_events_in_bytes_are_the_same_events(worker: Worker) -> None:
    events = payments(range(5100, 5103))
    inputs, tensors = [], []
    for column in columns(events):
        data = column.pop("data")
        if column["datatype"] == "BYTES":
            tensors.append(b"".join(struct.pack("<I", len(t)) + t.encode() for t in data))
        else:
            tensors.append(np.array(data, DTYPES[column["datatype"]]).tobytes())
        inputs.append(column | {"shape": [3, 1], "parameters": {"binary_data_size": len(tensors[-1])}})
    response = worker.request("POST", INFER, *framed({"inputs": inputs}, *tensors))
    assert (response.status, response.type) == (200, b"application/json")
    answers = worker.post("/v1/score", events)[1]
    assert outputs(msgspec.json.decode(response.body))["decision_id"] == [a["decision_id"] for a in answers]


def test_what_is_missing_in_a_column_is_null_or_nan(worker: Worker) -> None:
    events = [payment(5200, items=None), payment(5201, abroad=None), payment(5202)]
    without_text = columns(events, items={"datatype": "FP32", "data": [None, 5201 % 4, 5202 % 4]})
    status, body = worker.post(INFER, {"inputs": without_text})
    answers = worker.post("/v1/score", events)[1]
    assert (status, outputs(body)["decision_id"]) == (200, [a["decision_id"] for a in answers])
    data = np.array([np.nan, 5201 % 4, 5202 % 4], "<f4").tobytes()
    in_bytes = {"name": "items", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": 12}}
    inputs = [in_bytes if column["name"] == "items" else column for column in without_text]
    response = worker.request("POST", INFER, *framed({"inputs": inputs}, data))
    assert outputs(msgspec.json.decode(response.body))["decision_id"] == outputs(body)["decision_id"]


def test_a_prediction_without_decisions_has_one_output(tmp_path: Any) -> None:
    world = World(tmp_path)
    world.deploy("1", world.bundle(features=AREA, schema=RENT, decisions=None))
    with working(world) as worker:
        body = worker.post(INFER, {"inputs": [features([[50.5, 2]], [1, 2])]})[1]
        assert list(outputs(body)) == ["prediction"]
        given = [
            {"name": "area", "datatype": "FP32", "shape": [1], "data": [50.5]},
            {"name": "rooms", "datatype": "INT32", "shape": [1], "data": [2]},
        ]
        body = worker.post(INFER, {"inputs": given})[1]
        assert list(outputs(body)) == ["prediction", "event_id", "decision_id"]
        assert [o["datatype"] for o in body["outputs"]] == ["FP32", "BYTES", "BYTES"]


def test_outputs_are_those_that_are_asked_for_and_each_as_it_is_asked_for(worker: Worker) -> None:
    request: dict[str, Any] = {"inputs": columns(payments(range(5300, 5302)))}
    asked = [{"name": "decision_id"}, {"name": "score", "parameters": {"binary_data": True}}]
    response = worker.request("POST", INFER, request | {"outputs": asked})
    said, behind = unframed(response.body, response.headers)
    assert [output["name"] for output in said["outputs"]] == ["decision_id", "score"]
    assert ("data" in said["outputs"][0], len(behind)) == (True, 8)
    asked = [{"name": "event_id", "parameters": {"binary_data": False}}, {"name": "decision"}]
    all_in_bytes = {"parameters": {"binary_data_output": True, "priority": 3, "timeout": None}}
    response = worker.request("POST", INFER, request | {"outputs": asked} | all_in_bytes)
    said, behind = unframed(response.body, response.headers)
    assert said["outputs"][0]["data"] == [5300, 5301]
    assert said["outputs"][1]["parameters"]["binary_data_size"] == len(behind)
    body = worker.post(INFER, request | {"outputs": [], "parameters": None, "id": None})[1]
    assert ("id" in body, len(body["outputs"])) == (False, 4)


def test_no_rows_have_no_results(worker: Worker) -> None:
    in_bytes = {"parameters": {"binary_data_size": 0}, "data": None}  # null as KServe's client sends it
    for none in (features([], [0, WIDTH]), features([], [0, WIDTH]) | in_bytes):
        status, body = worker.post(INFER, {"inputs": [none]})
        assert (status, outputs(body)) == (200, {"score": [], "decision": []})
    given = {"name": "payment", "datatype": "INT64", "shape": [0], "data": []}
    status, body = worker.post(INFER, {"inputs": [given], "outputs": [{"name": "decision_id"}]})
    assert (status, outputs(body)) == (200, {"decision_id": []})


def test_an_event_that_contradicts_another_is_409(worker: Worker) -> None:
    worker.post(INFER, {"inputs": columns([payment(5400)])})
    status, body = worker.post(INFER, {"inputs": columns([payment(5400, amount=9.0)])})
    assert status == 409
    assert "another event came before" in body["error"]


def test_nothing_is_counted_where_an_output_is_refused(at_work: tuple[World, Worker]) -> None:
    world, worker = at_work
    before = len(list(read_decisions(world.decisions)))
    inputs = columns([payment(5500)])
    assert worker.post(INFER, {"inputs": inputs, "outputs": [{"name": "x"}]})[0] == 400
    assert len(list(read_decisions(world.decisions))) == before


def test_an_event_that_comes_again_after_a_swap_has_the_version_that_answered_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    with working(world) as worker:
        first = worker.post(INFER, {"inputs": columns([payment(1)])})[1]
        world.deploy("2", world.bundle("second", seed=1))
        worker.look()
        again = worker.post(INFER, {"inputs": columns([payment(1)])})[1]
        both = worker.post(INFER, {"inputs": columns([payment(1), payment(2)])})[1]
    assert (again["model_version"], outputs(again)) == ("1", outputs(first))
    assert both["model_version"] == "1, 2"
