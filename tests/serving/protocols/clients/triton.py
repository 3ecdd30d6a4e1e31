"""What Triton's own client makes of a server: run where it is installed, with what to send as JSON on stdin."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as http
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

NAME = "example"


def tensors(library: Any, given: list[dict[str, Any]], in_bytes: bool) -> list[Any]:
    inputs = []
    for tensor in given:
        array = np.array(tensor["data"], triton_to_np_dtype(tensor["datatype"]))
        inputs.append(library.InferInput(tensor["name"], list(array.shape), tensor["datatype"]))
        inputs[-1].set_data_from_numpy(array, binary_data=in_bytes)
    return inputs


def read(result: Any) -> dict[str, Any]:
    """The response, with the outputs' elements in the place of their description."""
    response = result.get_response()
    arrays = {output["name"]: result.as_numpy(output["name"]) for output in response["outputs"]}
    said = {name: [v.decode() if type(v) is bytes else v for v in a.tolist()] for name, a in arrays.items()}
    return response | {"outputs": said, "types": {name: str(array.dtype) for name, array in arrays.items()}}


def refused(ask: Any, *args: Any, **more: Any) -> list[str]:
    try:
        ask(*args, **more)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was not refused")


async def asynchronously(url: str, given: list[dict[str, Any]]) -> dict[str, Any]:
    async with aio.InferenceServerClient(url) as client:
        return read(await client.infer(NAME, tensors(aio, given, True), request_id="aio"))


def main(url: str, asked: dict[str, Any]) -> dict[str, Any]:
    client = http.InferenceServerClient(url)
    told: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models ready": [
            client.is_model_ready(NAME),
            client.is_model_ready(NAME, "1"),
            client.is_model_ready(NAME, "2"),
            client.is_model_ready("other"),
        ],
        "server": client.get_server_metadata(),
        "models": [client.get_model_metadata(NAME), client.get_model_metadata(NAME, "1")],
    }
    for kind in ("features", "events"):
        for in_bytes in (True, False):
            inputs = tensors(http, asked[kind], in_bytes)
            told[f"{kind} {in_bytes} by default"] = read(client.infer(NAME, inputs, request_id="7"))
            for binary in (True, False):
                outputs = [http.InferRequestedOutput(n, binary_data=binary) for n in ("decision", "score")]
                result = client.infer(NAME, inputs, model_version="1", outputs=outputs)
                told[f"{kind} {in_bytes} {binary}"] = read(result)
    features = tensors(http, asked["features"], True)
    none = http.InferInput("features", [0, len(asked["features"][0]["data"][0])], "FP32")
    for in_bytes in (True, False):
        none.set_data_from_numpy(np.empty(none.shape(), np.float32), binary_data=in_bytes)
        told[f"none {in_bytes}"] = read(client.infer(NAME, [none]))
    told["plain"] = read(client.infer(NAME, features, response_compression_algorithm="gzip"))
    told["later"] = read(client.async_infer(NAME, features).get_result())
    told["aio"] = asyncio.run(asynchronously(url, asked["features"]))
    told["parameters"] = read(
        client.infer(NAME, features, sequence_id=5, sequence_start=True, priority=1, timeout=1000)
    )
    told["refused"] = {
        "model": refused(client.infer, "other", features),
        "version": refused(client.infer, NAME, features, model_version="2"),
        "output": refused(client.infer, NAME, features, outputs=[http.InferRequestedOutput("x")]),
        "datatype": refused(
            client.infer, NAME, tensors(http, [asked["features"][0] | {"datatype": "INT64"}], False)
        ),
        "class": refused(
            client.infer, NAME, features, outputs=[http.InferRequestedOutput("score", class_count=2)]
        ),
        "input": refused(client.infer, NAME, tensors(http, asked["misfit"], True)),
        "compressed": refused(client.infer, NAME, features, request_compression_algorithm="gzip"),
        "metadata": refused(client.get_model_metadata, "other"),
        "extension": refused(client.get_model_config, NAME),
    }
    client.close()
    return told


if __name__ == "__main__":
    json.dump(main(sys.argv[1], json.load(sys.stdin)), sys.stdout)
