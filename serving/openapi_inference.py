"""The routes of the Open Inference Protocol in the OpenAPI document: its tensors, with the bundle's own as examples."""

from __future__ import annotations

from typing import Any

from mlops.bundle import Bundle
from serving.http import Scope
from serving.json_schema import JsonSchema
from serving.openapi_parts import body, content, example, json_answer, ok, operation, ref
from serving.openapi_problems import REQUEST_ID
from serving.protocols.binary import DTYPES
from serving.protocols.open_inference import FEATURES, column_datatype

__all__ = ["inference_paths", "inference_responses", "inference_schemas"]

_LENGTH = "Inference-Header-Content-Length"
_ABOUT = f"""One input `{FEATURES}` [n, f] has rows of the model's features, in its order; or an input [n] each has
the columns of events, or the features by name. Events are counted, logged and decided as by `POST /v1/score`, features
scored as by `POST /v1/predict`. Outputs are [n]; those of ids are there for events only.

An input whose parameters have `binary_data_size` stands in so many bytes behind the JSON, of which `{_LENGTH}`
says the length; `binary_data_output`, or `binary_data` of one output, asks for bytes likewise."""
_NO_PATH = ("408", "413", "431")
"""What is answered before the path is known, and so as a problem document; 413 also after."""
_DATATYPES = [*DTYPES, "BYTES"]


def inference_schemas() -> dict[str, JsonSchema]:
    """The named schemas."""
    name, shape = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}
    tensor = {"name": name, "datatype": {"enum": _DATATYPES}, "shape": shape, "parameters": _PARAMETERS}
    described = {"type": "array", "items": _object(tensor, "name", "datatype", "shape")}
    size = {"minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 0}}
    data = {"type": "array", "description": "Row by row, flat or nested as the shape is; null is missing."}
    given = tensor | {"shape": shape | size, "data": data}
    asked = _object({"name": name, "parameters": _PARAMETERS}, "name")
    inputs = {"type": "array", "minItems": 1, "items": _object(given, "name", "datatype", "shape")}
    texts = {"type": ["string", "null"]}
    return {
        "InferenceRequest": _object(
            {
                "id": texts,
                "parameters": _PARAMETERS,
                "inputs": inputs,
                "outputs": {"type": ["array", "null"], "items": asked},
            },
            "inputs",
        ),
        "InferenceResponse": _object(
            {
                "model_name": name,
                "model_version": name,
                "id": {"type": "string", "description": "That of the request, if it had one."},
                "outputs": {"type": "array", "items": _object(tensor | {"data": data}, *_NAMED)},
            },
            *("model_name", "model_version", "outputs"),
        ),
        "InferenceModel": _object(
            {
                "name": name,
                "versions": {"type": "array", "items": name},
                "platform": name,
                "inputs": described,
                "outputs": described,
            },
            *("name", "versions", "platform", "inputs", "outputs"),
        ),
        "InferenceServer": _object(
            {"name": name, "version": name, "extensions": {"type": "array", "items": name}},
            *("name", "version", "extensions"),
        ),
        "InferenceLive": _object({"live": {"const": True}}, "live"),
        "InferenceReady": _object({"name": name, "ready": {"type": "boolean"}}, "ready"),
        "InferenceError": _object({"error": {"type": "string"}}, "error"),
    }


def inference_responses() -> dict[str, JsonSchema]:
    """What refuses, by the name that the paths refer to."""
    examples = {
        "version": ("", {"error": "version '2' of 'fraud' is not deployed; '1' is"}),
        "shape": ("", {"error": "input 'features': has the shape [1, 3], and must have [n, 15]"}),
    }
    return {
        "InferenceError": {
            "description": "Refused, and why. What does not fit is 400, another event under an id 409.",
            "headers": REQUEST_ID,
            "content": content("application/json", ref("InferenceError"), examples),
        },
        "InferenceTooLarge": {
            "description": "The body is too large: for this route, or, as a problem document says, for any.",
            "headers": REQUEST_ID,
            "content": content("application/json", ref("InferenceError"), {})
            | content("application/problem+json", ref("Problem"), {}),
        },
    }


def inference_paths(
    bundle: Bundle | None, version: str, schemas: dict[str, JsonSchema], limits: str
) -> dict[str, dict[str, JsonSchema]]:
    """The paths. Their examples are the event and the features that the other routes have; `limits` are told."""
    model = _parameter("name", "The model's name.", bundle.manifest.name if bundle else "fraud")
    versions = _parameter("version", "The version that is deployed.", version or "1")
    about = f"{_ABOUT}\n\n{limits}"
    named, numbered = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    paths = {
        "/v2": _get("inferenceServer", "The server, and the protocol's extensions that it speaks", "Server"),
        "/v2/health/live": _get("inferenceLive", "Whether the process answers", "Live"),
        "/v2/health/ready": _ready("inferenceReady", "Whether it should get requests"),
    }
    for path, parameters, of in ((named, [model], ""), (numbered, [model, versions], "Version")):
        told = "The model's inputs and outputs" + (", if it is this version" if of else "")
        paths[path] = _get(f"inference{of}Model", told, "Model", parameters, "score")
        told = "Whether this is deployed, and the server ready"
        paths[f"{path}/ready"] = _ready(f"inference{of}ModelReady", told, parameters, "score")
        paths[f"{path}/infer"] = {"post": _infer(f"infer{of}", about, bundle, schemas, parameters)}
    return paths


_NAMED = ("name", "datatype", "shape")
_PARAMETERS: JsonSchema = {"type": ["object", "null"]}
_IN_BYTES = {
    "name": _LENGTH,
    "in": "header",
    "description": "How many bytes of the body are JSON, if others follow.",
    "schema": {"type": "integer", "minimum": 0},
}


def _infer(
    id_: str, about: str, bundle: Bundle | None, schemas: dict[str, JsonSchema], parameters: list[JsonSchema]
) -> JsonSchema:
    event, rows = example(schemas["Event"]), example(schemas["Rows"], {}).get("features") or None
    matrix: Any = rows and {
        "name": FEATURES,
        "datatype": "FP32",
        "shape": [len(rows), len(rows[0])],
        "data": rows,
    }
    columns: Any = bundle and [
        {
            "name": column.name,
            "datatype": column_datatype(bundle.schema, column),
            "shape": [1],
            "data": [event[column.name]],
        }
        for column in bundle.schema.events.columns
        if column.name in event
    ]
    answered = example(schemas["Answer"])
    scored = {"name": "prediction" if "prediction" in answered else "score", "datatype": "FP32", "shape": [1]}
    named = {"model_name": answered["model"], "model_version": answered["version"]}
    answer = json_answer(
        ref("InferenceResponse"),
        {"features": ("To features", named | {"outputs": [scored | {"data": [0.0123]}]})},
        others=content(
            "application/octet-stream", {"type": "string", "description": "JSON, and bytes behind it."}, {}
        ),
    )
    answer["200"]["headers"] = REQUEST_ID | {_LENGTH: {k: _IN_BYTES[k] for k in ("description", "schema")}}
    described = _refusing(
        operation(
            id_,
            "Score tensors",
            about,
            _TAG,
            "score",
            *(404, 409),
            parameters=[*parameters, _IN_BYTES],
            body=body(
                ref("InferenceRequest"),
                {
                    "features": ("Features", matrix and {"inputs": [matrix]}),
                    "events": ("An event", columns and {"id": "1", "inputs": columns}),
                },
            ),
            answer=answer,
        )
    )
    described["responses"]["413"] = {"$ref": "#/components/responses/InferenceTooLarge"}
    return described


_TAG = "open inference"


def _get(
    id_: str,
    summary: str,
    schema: str,
    parameters: list[JsonSchema] | None = None,
    scope: Scope | None = None,
) -> JsonSchema:
    statuses = (404,) if parameters else ()
    answer = json_answer(ref(f"Inference{schema}"), {})
    return {
        "get": _refusing(
            operation(id_, summary, "", _TAG, scope, *statuses, parameters=parameters, answer=answer)
        )
    }


def _ready(
    id_: str, summary: str, parameters: list[JsonSchema] | None = None, scope: Scope | None = None
) -> JsonSchema:
    described = _get(id_, summary, "Ready", parameters, scope)
    not_ready = {"anyOf": [ref("InferenceReady"), ref("InferenceError")]}
    described["get"]["responses"]["503"] = {
        **ok("Not ready.", content("application/json", not_ready, {}))["200"]
    }
    return described


def _refusing(described: JsonSchema) -> JsonSchema:
    """The operation with the protocol's errors for problem documents."""
    refused = {"$ref": "#/components/responses/InferenceError"}
    described["responses"] = {
        status: refused if "$ref" in response and status not in _NO_PATH else response
        for status, response in described["responses"].items()
        if status != "422"
    }
    return described


def _parameter(name: str, description: str, value: str) -> JsonSchema:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": value,
    }


def _object(properties: dict[str, Any], *required: str) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(required)}
