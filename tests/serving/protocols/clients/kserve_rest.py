"""What KServe's own client makes of a server: run where it is installed, with what to send as JSON on stdin."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import to_np_dtype

NAME = "example"


def request(given: list[dict[str, Any]], in_bytes: bool, **more: Any) -> InferRequest:
    inputs = []
    for tensor in given:
        array = np.array(tensor["data"], to_np_dtype(tensor["datatype"]))
        inputs.append(InferInput(tensor["name"], list(array.shape), tensor["datatype"]))
        inputs[-1].set_data_from_numpy(array, binary_data=in_bytes)
    return InferRequest(model_name=NAME, infer_inputs=inputs, request_id="7", **more)


def read(response: Any) -> dict[str, Any]:
    outputs = {output.name: output.data for output in response.outputs}
    return {"id": response.id, "model_name": response.model_name, "outputs": outputs}


async def refused(asking: Any) -> str:
    try:
        await asking
    except httpx.HTTPStatusError as error:
        return str(error)
    raise AssertionError("it was not refused")


async def main(url: str, asked: dict[str, Any]) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        told: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "models ready": [
                await client.is_model_ready(url, NAME),
                await client.is_model_ready(url, "other"),
            ],
        }
        for kind in ("features", "events"):
            for in_bytes in (True, False):
                for out in (True, False):
                    sent = request(asked[kind], in_bytes, parameters={"binary_data_output": out})
                    told[f"{kind} {in_bytes} {out}"] = read(await client.infer(url, sent, model_name=NAME))
        outputs = [RequestedOutput("score", {"binary_data": True}), RequestedOutput("decision")]
        sent = request(asked["features"], True, request_outputs=outputs)
        told["outputs"] = read(await client.infer(url, sent, model_name=NAME))
        width = len(asked["features"][0]["data"][0])
        none = [{"name": "features", "datatype": "FP32", "data": np.empty((0, width))}]
        for in_bytes in (True, False):
            told[f"none {in_bytes}"] = read(await client.infer(url, request(none, in_bytes), model_name=NAME))
        unknown = request(asked["features"], True, request_outputs=[RequestedOutput("x")])
        told["refused"] = {
            "output": await refused(client.infer(url, unknown, model_name=NAME)),
            "model": await refused(client.infer(url, request(asked["features"], True), model_name="other")),
            "input": await refused(client.infer(url, request(asked["misfit"], False), model_name=NAME)),
        }
        return told


if __name__ == "__main__":
    json.dump(asyncio.run(main(f"http://{sys.argv[1]}", json.load(sys.stdin))), sys.stdout)
