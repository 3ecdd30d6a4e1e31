"""The OpenAPI 3.1 document of the service, made of the bundle that answers: its event schema is the request's."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mlops.bundle import Bundle
from serving.json_schema import JsonSchema
from serving.openapi_inference import inference_paths, inference_responses, inference_schemas
from serving.openapi_parts import (
    SECURITY,
    body,
    content,
    example,
    flag,
    json_answer,
    list_of,
    ok,
    operation,
    page,
    ref,
)
from serving.openapi_platforms import platform_paths, platform_schemas
from serving.openapi_problems import REQUEST_ID, problem_responses
from serving.openapi_schemas import schemas_of
from serving.protocols.core import MAX_BODY_BYTES

__all__ = ["document"]

_API_VERSION = "1.0"
_ABOUT = """Scores raw events: the service computes the features itself, from the event in hand and those before it.

Send an event when it happens to `POST /v1/score`. A score is in the decision log before it is answered. An event that
is sent again, as it was, gets its first answer again and counts once; so a request that was not answered may be
repeated. The truth follows days later, to `POST /v1/labels`.

Whatever is refused is answered with a problem document (RFC 9457); its `field` names what does not fit. After 429 and
503, wait as many seconds as `Retry-After` says."""

_TAGS = {
    "scoring": "Events in, scores out.",
    "truth": "What became of the events.",
    "open inference": "Tensors in, tensors out: the Open Inference Protocol v2, as Triton and KServe speak it.",
    "platforms": "What managed platforms ask of a container.",
    "operation": "For monitoring and for operators.",
    "pages": "For people.",
}
_SOME = "0" * 64
_FIND = {
    "decision": {
        "operationId": "decision",
        "parameters": {"id": "$response.body#/decision_id"},
        "description": "The answer can be asked for again.",
    }
}


def document(
    bundle: Bundle | None = None,
    version: str = "",
    *,
    named: bool = True,
    max_events: int,
    max_labels: int,
    max_rows: int,
    max_reasons: int,
    max_body_bytes: int,
) -> dict[str, Any]:
    """The document, as it stands while `bundle` answers under the registry's `version`.

    Without a bundle the routes are the same, and what depends on the event schema is any object. The limits are those
    of one request.

    Args:
        named: whether it says which model, and which version of it, that is; examples have others if not.
    """
    shown = bundle if named else None
    info: dict[str, Any] = {
        "title": f"Scoring service: {shown.manifest.name}" if shown else "Scoring service",
        "version": _API_VERSION,
        "summary": "Scores, decisions and reasons for raw events.",
        "description": _ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }
    if shown:
        info["x-model"] = {"name": shown.manifest.name, "version": version, "task": shown.schema.task}
    elif bundle:
        bundle, version = replace(bundle, digest=_SOME, manifest=replace(bundle.manifest, name="model")), "1"
    schemas = schemas_of(bundle, version, max_rows=max_rows)
    schemas |= platform_schemas(schemas) | inference_schemas()
    limits = (
        f"A request has at most {max_events:,} events, or {max_rows:,} rows of features, in at most "
        f"{min(MAX_BODY_BYTES, max_body_bytes):,} bytes."
    )
    return {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _paths(schemas, max_events, max_labels, max_reasons)
        | inference_paths(bundle, version, schemas, limits)
        | platform_paths(schemas, max_events, max_rows, limits),
        "components": {
            "schemas": schemas,
            "responses": problem_responses(max_body_bytes) | inference_responses(),
            "securitySchemes": SECURITY,
        },
    }


def _paths(
    schemas: dict[str, JsonSchema], max_events: int, max_labels: int, max_reasons: int
) -> dict[str, dict[str, JsonSchema]]:
    event, answer = example(schemas["Event"], {}), example(schemas["Answer"])
    label = example(
        schemas["Label"], {"event_id": 9000000001, "label": 1, "known_at": "2024-03-12T14:30:00Z"}
    )
    features = flag("features", "the features come with each score.")
    reasons = flag(
        "reasons", f"the reasons come with each score; for at most {max_reasons} events a request."
    )
    return {
        "/v1/score": {
            "post": operation(
                "score",
                "Score an event, or a list of them",
                "One event has one answer, a list a list of answers in its order. The events of a list are counted "
                "before the first one's features are computed. If one of them does not fit, none is scored. A member "
                "that is there twice does not fit, nor does a parameter that is not one of these.",
                "scoring",
                "score",
                409,
                parameters=[features, reasons],
                body=body(
                    {"oneOf": [ref("Event"), list_of(ref("Event"), max_events)]},
                    {"one": ("One event", event), "list": ("A list of events", [event])},
                ),
                answer=json_answer(
                    {"oneOf": [ref("Answer"), list_of(ref("Answer"), max_events)]},
                    {"one": ("To one event", answer), "list": ("To a list", [answer])},
                    links=_FIND,
                ),
                effect="Its events go into the decision log, and count in the features of later ones, as any others.",
            )
        },
        "/v1/predict": {
            "post": operation(
                "predict",
                "Score rows of features",
                "For callers that computed the features themselves. Nothing is stored nor logged.",
                "scoring",
                "score",
                body=body(ref("Rows"), {"rows": ("Typical rows", example(schemas["Rows"]))}),
                answer=json_answer(
                    ref("Scores"), {"scores": ("One score a row", example(schemas["Scores"]))}
                ),
                effect="Nothing of it stays, but that it was asked.",
            )
        },
        "/v1/labels": {
            "post": operation(
                "label",
                "Say what became of events",
                "The same label may be sent again; of several for one event the last holds. One that comes before its "
                "event is held, and applied when the event comes. Labels wait in a queue of their own: beyond its end "
                "they are answered with 503.",
                "truth",
                "labels",
                body=body(list_of(ref("Label"), max_labels), {"labels": ("A list of labels", [label])}),
                answer=json_answer(ref("Labelled"), {"labelled": ("", example(schemas["Labelled"]))}),
                effect="Its labels are logged, and count in features and in what is said of the model, as any others.",
            )
        },
        "/v1/decisions/{id}": {
            "get": operation(
                "decision",
                "What was answered under a decision's id",
                "The answer as it was given, with its features; as long as the store remembers the event.",
                "scoring",
                "score",
                404,
                parameters=[
                    {
                        "name": "id",
                        "in": "path",
                        "required": True,
                        "description": "The `decision_id` of an answer.",
                        "schema": {"type": "string", "minLength": 1},
                        "example": answer["decision_id"],
                    }
                ],
                answer=json_answer(ref("Answer"), {"answer": ("", answer)}),
            )
        },
        "/v1/model": {
            "get": operation(
                "model",
                "What answers now, and its features in order",
                "",
                "scoring",
                "score",
                answer=json_answer(ref("Model"), {"model": ("", example(schemas["Model"], None))}),
            )
        },
        "/v1/admin/reload": {
            "post": operation(
                "reload",
                "Look at the deployment pointer now",
                "Every worker checks what the pointer names, and serves it if it passes. Answered when all have.",
                "operation",
                "admin",
                409,
                answer=json_answer(ref("Reloaded"), {}),
                effect="Every worker does it, and it is in the audit log.",
            )
        },
        "/metrics": {
            "get": operation(
                "metrics",
                "Metrics of all workers, for Prometheus",
                "",
                "operation",
                None,
                answer=ok("Prometheus's text format.", {"text/plain": {"schema": {"type": "string"}}}),
            )
        },
        "/livez": {
            "get": operation(
                "livez",
                "Whether the process answers",
                "",
                "operation",
                None,
                answer=json_answer(ref("Alive"), {"alive": ("", {"status": "alive"})}),
            )
        },
        "/readyz": {
            "get": operation(
                "readyz",
                "Whether it should get requests, and if not, why",
                "503 while it has no model, cannot use store or log, does not follow the pointer, or is ending.",
                "operation",
                None,
                answer=json_answer(ref("Readiness"), {"ready": ("", example(schemas["Readiness"]))})
                | {"503": _not_ready(schemas)},
            )
        },
        "/openapi.json": {"get": page("openapi", "This document", "application/json", "operation")},
        "/docs": {"get": page("docs", "This document, to be read and tried", "text/html", "pages")},
        "/": {"get": page("index", "Score an event by hand", "text/html", "pages")},
    }


def _not_ready(schemas: dict[str, JsonSchema]) -> JsonSchema:
    value = example(schemas["Readiness"]) | {"status": "not ready", "version": None, "digest": None}
    shown = content("application/json", ref("Readiness"), {"empty": ("No model", value)})
    return {"description": "Not ready.", "headers": REQUEST_ID, "content": shown}
