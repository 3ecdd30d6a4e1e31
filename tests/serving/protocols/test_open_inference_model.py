"""What the Open Inference Protocol's routes say of server and model, what they ask for, and which there are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlops.api_keys import create_key
from tests.serving.example import World
from tests.serving.protocols.asking import INFER, ROWS, WIDTH, features
from tests.serving.protocols.worker import Worker, working


def test_the_server_and_the_model_say_what_they_are(worker: Worker) -> None:
    assert worker.get("/v2") == (
        200,
        {"name": "mlops-serving", "version": "1.0", "extensions": ["binary_tensor_data"]},
    )
    assert worker.get("/v2/health/live") == (200, {"live": True})
    for path in ("/v2/models/example", "/v2/models/example/versions/1"):
        status, said = worker.get(path)
        assert (status, said["name"], said["versions"], said["platform"]) == (
            200,
            "example",
            ["1"],
            "onnxruntime_onnx",
        )
        first, *rest = said["inputs"]
        assert (first["name"], first["datatype"], first["shape"]) == ("features", "FP32", [-1, WIDTH])
        assert {i["name"]: i["datatype"] for i in rest} == {
            "payment": "INT64",
            "at": "BYTES",
            "card": "INT64",
            "shop": "INT64",
            "amount": "FP64",
            "items": "INT64",
            "abroad": "BOOL",
            "note": "BYTES",
        }
        assert [i["name"] for i in rest if i["parameters"]["nullable"]] == ["items", "abroad", "note"]
        assert said["outputs"] == [
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "decision", "datatype": "BYTES", "shape": [-1]},
            {"name": "event_id", "datatype": "INT64", "shape": [-1]},
            {"name": "decision_id", "datatype": "BYTES", "shape": [-1]},
        ]


def test_it_is_ready_when_the_service_is(world: World) -> None:
    paths = {
        "/v2/health/ready": {},
        "/v2/models/example/ready": {"name": "example"},
        "/v2/models/example/versions/1/ready": {"name": "example"},
    }
    with working(world) as worker:
        # A worker without its clockwork does not follow the pointer, which is a reason not to be ready.
        for path, named in paths.items():
            assert worker.get(path) == (503, {**named, "ready": False})
        worker.state.following = worker.loop.create_task(worker.state.follower.follow())
        for path, named in paths.items():
            assert worker.get(path) == (200, {**named, "ready": True})
        worker.state.draining = True
        assert [worker.get(path)[0] for path in paths] == [503] * 3
        worker.state.following.cancel()


@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("other", "no model 'other' is deployed here; 'example' is"),
        ("example/versions/2", "version '2' of 'example' is not deployed; '1' is"),
        ("other/versions/1", "no model 'other' is deployed here; 'example' is"),
    ],
)
def test_another_model_or_version_is_not_found(worker: Worker, path: str, model: str, said: str) -> None:
    method = "POST" if path == "/infer" else "GET"
    response = worker.request(method, f"/v2/models/{model}{path}", b"")
    assert (response.status, msgspec.json.decode(response.body)) == (404, {"error": said})


def test_before_a_model_is_deployed_it_is_said_when_to_ask_again(tmp_path: Any) -> None:
    with working(World(tmp_path)) as worker:
        response = worker.request("POST", INFER, {"inputs": []})
        assert response.status == 503
        assert "no model is deployed yet" in msgspec.json.decode(response.body)["error"]
        assert response.headers == {b"retry-after": b"1"}
        assert worker.get("/v2/health/ready")[0] == 503


def test_a_key_is_asked_for_but_for_health(world: World) -> None:
    key = {"Authorization": f"Bearer {create_key(world.home / 'keys.json', 'till', ['score'])}"}
    with working(world, keys=world.home / "keys.json") as worker:
        for method, path in (("POST", INFER), ("GET", "/v2/models/example")):
            refused = worker.request(method, path)
            assert (refused.status, list(msgspec.json.decode(refused.body))) == (401, ["error"])
            assert refused.headers is not None and b"www-authenticate" in refused.headers
        assert worker.request("POST", INFER, {"inputs": [features(ROWS)]}, key).status == 200
        assert (
            worker.request("GET", "/v2/models/example/ready", b"", key).status == 503
        )  # it has no clockwork
        assert worker.get("/v2/health/ready")[0] == 503


@pytest.mark.parametrize("path", ["example", "other", "example/versions/1", "example/versions/2"])
def test_a_stranger_does_not_hear_which_model_and_version_are_deployed(world: World, path: str) -> None:
    create_key(world.home / "keys.json", "till", ["score"])
    with working(world, keys=world.home / "keys.json") as worker:
        for method, end in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
            refused = worker.request(method, f"/v2/models/{path}{end}", b"")
            assert (refused.status, msgspec.json.decode(refused.body)) == (
                401,
                {"error": "no API key: send one as Authorization: Bearer KEY or X-API-Key: KEY"},
            )


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/{/infer/x"]
)
def test_other_paths_are_not_found(worker: Worker, path: str) -> None:
    assert worker.get(path)[0] == 404


def test_a_name_may_look_like_a_part_of_a_path(worker: Worker) -> None:
    for name in ("{", "{name}", "versions", "ready"):
        assert "no model" in worker.get(f"/v2/models/{name}")[1]["error"]


def test_a_method_that_is_not_there_is_said(worker: Worker) -> None:
    response = worker.request("GET", INFER)
    assert (response.status, response.headers) == (405, {b"allow": b"POST"})
    assert msgspec.json.decode(response.body) == {"error": "GET is not allowed here"}
