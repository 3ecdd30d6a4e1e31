"""The OpenAPI 3.1 document of the service, made of the bundle that answers: its event schema is the request's."""

from __future__ import annotations

from typing import Any

from mlops.bundle import Bundle
from serving.http import Scope
from serving.json_schema import JsonSchema
from serving.openapi_problems import REQUEST_ID, problem_responses, refusals
from serving.openapi_schemas import schemas_of

__all__ = ["document"]

_API_VERSION = "1.0"
_ABOUT = """Scores raw events: the service computes the features itself, from the event in hand and those before it.

Send an event when it happens to `POST /v1/score`. A score is in the decision log before it is answered. An event that
is sent again, as it was, gets its first answer again and counts once; so a request that was not answered may be
repeated. The truth follows days later, to `POST /v1/labels`.

Whatever is refused is answered with a problem document (RFC 9457); its `field` names what does not fit. After 429 and
503, wait as many seconds as `Retry-After` says."""

_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer mlk_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: mlk_…`"},
}
_TAGS = {
    "scoring": "Events in, scores out.",
    "truth": "What became of the events.",
    "operation": "For monitoring and for operators.",
    "pages": "For people.",
}
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
    max_events: int,
    max_labels: int,
    max_rows: int,
    max_reasons: int,
    max_body_bytes: int,
) -> dict[str, Any]:
    """The document, as it stands while `bundle` answers under the registry's `version`.

    Without a bundle the routes are the same, and what depends on the event schema is any object. The limits are those
    of one request.
    """
    info: dict[str, Any] = {
        "title": f"Scoring service: {bundle.manifest.name}" if bundle else "Scoring service",
        "version": _API_VERSION,
        "summary": "Scores, decisions and reasons for raw events.",
        "description": _ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }
    if bundle:
        info["x-model"] = {"name": bundle.manifest.name, "version": version, "task": bundle.schema.task}
    schemas = schemas_of(bundle, version, max_rows=max_rows)
    return {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _paths(schemas, max_events, max_labels, max_reasons),
        "components": {
            "schemas": schemas,
            "responses": problem_responses(max_body_bytes),
            "securitySchemes": _SECURITY,
        },
    }


def _paths(
    schemas: dict[str, JsonSchema], max_events: int, max_labels: int, max_reasons: int
) -> dict[str, dict[str, JsonSchema]]:
    event, answer = _example(schemas["Event"], {}), _example(schemas["Answer"])
    label = _example(
        schemas["Label"], {"event_id": 9000000001, "label": 1, "known_at": "2024-03-12T14:30:00Z"}
    )
    features = _flag("features", "the features come with each score.")
    reasons = _flag(
        "reasons", f"the reasons come with each score; for at most {max_reasons} events a request."
    )
    return {
        "/v1/score": {
            "post": _operation(
                "score",
                "Score an event, or a list of them",
                "One event has one answer, a list a list of answers in its order. The events of a list are counted "
                "before the first one's features are computed. If one of them does not fit, none is scored. A member "
                "that is there twice does not fit, nor does a parameter that is not one of these.",
                "scoring",
                "score",
                409,
                parameters=[features, reasons],
                body=_body(
                    {"oneOf": [_ref("Event"), _list(_ref("Event"), max_events)]},
                    {"one": ("One event", event), "list": ("A list of events", [event])},
                ),
                answer=_json(
                    {"oneOf": [_ref("Answer"), _list(_ref("Answer"), max_events)]},
                    {"one": ("To one event", answer), "list": ("To a list", [answer])},
                    links=_FIND,
                ),
                effect="Its events go into the decision log, and count in the features of later ones, as any others.",
            )
        },
        "/v1/predict": {
            "post": _operation(
                "predict",
                "Score rows of features",
                "For callers that computed the features themselves. Nothing is stored nor logged.",
                "scoring",
                "score",
                body=_body(_ref("Rows"), {"rows": ("Typical rows", _example(schemas["Rows"]))}),
                answer=_json(_ref("Scores"), {"scores": ("One score a row", _example(schemas["Scores"]))}),
                effect="Nothing of it stays, but that it was asked.",
            )
        },
        "/v1/labels": {
            "post": _operation(
                "label",
                "Say what became of events",
                "The same label may be sent again; of several for one event the last holds. One that comes before its "
                "event is held, and applied when the event comes. Labels wait in a queue of their own: beyond its end "
                "they are answered with 503.",
                "truth",
                "labels",
                body=_body(_list(_ref("Label"), max_labels), {"labels": ("A list of labels", [label])}),
                answer=_json(_ref("Labelled"), {"labelled": ("", _example(schemas["Labelled"]))}),
                effect="Its labels are logged, and count in features and in what is said of the model, as any others.",
            )
        },
        "/v1/decisions/{id}": {
            "get": _operation(
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
                answer=_json(_ref("Answer"), {"answer": ("", answer)}),
            )
        },
        "/v1/model": {
            "get": _operation(
                "model",
                "What answers now, and its features in order",
                "",
                "scoring",
                "score",
                answer=_json(_ref("Model"), {"model": ("", _example(schemas["Model"], None))}),
            )
        },
        "/v1/admin/reload": {
            "post": _operation(
                "reload",
                "Look at the deployment pointer now",
                "Every worker checks what the pointer names, and serves it if it passes. Answered when all have.",
                "operation",
                "admin",
                409,
                answer=_json(_ref("Reloaded"), {}),
                effect="Every worker does it, and it is in the audit log.",
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "Metrics of all workers, for Prometheus",
                "",
                "operation",
                None,
                answer=_ok("Prometheus's text format.", {"text/plain": {"schema": {"type": "string"}}}),
            )
        },
        "/livez": {
            "get": _operation(
                "livez",
                "Whether the process answers",
                "",
                "operation",
                None,
                answer=_json(_ref("Alive"), {"alive": ("", {"status": "alive"})}),
            )
        },
        "/readyz": {
            "get": _operation(
                "readyz",
                "Whether it should get requests, and if not, why",
                "503 while it has no model, cannot use store or log, does not follow the pointer, or is ending.",
                "operation",
                None,
                answer=_json(_ref("Readiness"), {"ready": ("", _example(schemas["Readiness"]))})
                | {"503": _not_ready(schemas)},
            )
        },
        "/openapi.json": {"get": _page("openapi", "This document", "application/json", "operation")},
        "/docs": {"get": _page("docs", "This document, to be read and tried", "text/html", "pages")},
        "/": {"get": _page("index", "Score an event by hand", "text/html", "pages")},
    }


def _operation(
    id_: str,
    summary: str,
    description: str,
    tag: str,
    scope: Scope | None,
    *statuses: int,
    answer: JsonSchema,
    body: JsonSchema | None = None,
    parameters: list[JsonSchema] | None = None,
    effect: str = "",
) -> JsonSchema:
    """An operation; `statuses` are those of its problems that not every one has, `effect` is what stays of a call."""
    needs = f"Needs a key with the scope `{scope}`." if scope else ""
    return {
        "operationId": id_,
        "tags": [tag],
        "summary": summary,
        "description": "\n\n".join(part for part in (description, needs) if part),
        "security": [{name: [scope]} for name in _SECURITY] if scope else [],
        **({"x-effect": effect} if effect else {}),
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body else {}),
        "responses": refusals(*statuses, scope=scope, body=body is not None) | answer,
    }


def _page(id_: str, summary: str, type_: str, tag: str) -> JsonSchema:
    schema = {"type": "object" if type_ == "application/json" else "string"}
    return _operation(id_, summary, "", tag, None, answer=_ok(summary, {type_: {"schema": schema}}))


def _body(schema: JsonSchema, examples: dict[str, tuple[str, Any]]) -> JsonSchema:
    return {"required": True, "content": {"application/json": {"schema": schema} | _examples(examples)}}


def _json(
    schema: JsonSchema, examples: dict[str, tuple[str, Any]], links: JsonSchema | None = None
) -> JsonSchema:
    return _ok("Done.", {"application/json": {"schema": schema} | _examples(examples)}, links)


def _ok(description: str, content: JsonSchema, links: JsonSchema | None = None) -> JsonSchema:
    described = {"description": description, "headers": REQUEST_ID, "content": content}
    return {"200": described | ({"links": links} if links else {})}


def _not_ready(schemas: dict[str, JsonSchema]) -> JsonSchema:
    example = _example(schemas["Readiness"]) | {"status": "not ready", "version": None, "digest": None}
    content = {"schema": _ref("Readiness"), "examples": {"empty": {"summary": "No model", "value": example}}}
    return {"description": "Not ready.", "headers": REQUEST_ID, "content": {"application/json": content}}


def _examples(examples: dict[str, tuple[str, Any]]) -> JsonSchema:
    named = {
        name: ({"summary": summary} if summary else {}) | {"value": value}
        for name, (summary, value) in examples.items()
        if value is not None
    }
    return {"examples": named} if named else {}


def _example(schema: JsonSchema, default: Any = None) -> Any:
    return schema["examples"][0] if "examples" in schema else default


def _flag(name: str, description: str) -> JsonSchema:
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "description": f"`true`: {description}", "schema": schema}


def _list(items: JsonSchema, limit: int) -> JsonSchema:
    return {"type": "array", "items": items, "maxItems": limit}


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}
