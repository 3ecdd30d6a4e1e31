"""What the OpenAPI document is put together of: operations, bodies, answers."""

from __future__ import annotations

from typing import Any

from serving.http import Scope
from serving.json_schema import JsonSchema
from serving.openapi_problems import REQUEST_ID, refusals

__all__ = [
    "SECURITY",
    "Examples",
    "body",
    "content",
    "example",
    "flag",
    "json_answer",
    "list_of",
    "ok",
    "operation",
    "page",
    "ref",
]

Examples = dict[str, tuple[str, Any]]
"""By name: a summary, and the value; None for none."""


SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer mlk_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: mlk_…`"},
}


def operation(
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
        "security": [{name: [scope]} for name in SECURITY] if scope else [],
        **({"x-effect": effect} if effect else {}),
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body else {}),
        "responses": refusals(*statuses, scope=scope, body=body is not None) | answer,
    }


def page(id_: str, summary: str, type_: str, tag: str) -> JsonSchema:
    """An operation that answers with a document."""
    schema = {"type": "object" if type_ == "application/json" else "string"}
    return operation(id_, summary, "", tag, None, answer=ok(summary, content(type_, schema, {})))


def body(schema: JsonSchema, examples: Examples, others: JsonSchema | None = None) -> JsonSchema:
    """What must be sent: JSON, or `content` of another type."""
    return {"required": True, "content": content("application/json", schema, examples) | (others or {})}


def json_answer(
    schema: JsonSchema, examples: Examples, links: JsonSchema | None = None, others: JsonSchema | None = None
) -> JsonSchema:
    """What is answered if all went well: JSON, or `content` of another type."""
    return ok("Done.", content("application/json", schema, examples) | (others or {}), links)


def ok(description: str, content: JsonSchema, links: JsonSchema | None = None) -> JsonSchema:
    """An answer with the status 200."""
    described = {"description": description, "headers": REQUEST_ID, "content": content}
    return {"200": described | ({"links": links} if links else {})}


def content(type_: str, schema: JsonSchema, examples: Examples) -> JsonSchema:
    """What a body of one type holds."""
    named = {
        name: ({"summary": summary} if summary else {}) | {"value": value}
        for name, (summary, value) in examples.items()
        if value is not None
    }
    return {type_: {"schema": schema} | ({"examples": named} if named else {})}


def example(schema: JsonSchema, default: Any = None) -> Any:
    """The first example that a schema has."""
    return schema["examples"][0] if "examples" in schema else default


def flag(name: str, description: str) -> JsonSchema:
    """A parameter of the query that is true or false."""
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "description": f"`true`: {description}", "schema": schema}


def list_of(items: JsonSchema, limit: int) -> JsonSchema:
    """A list of at most `limit`."""
    return {"type": "array", "items": items, "maxItems": limit}


def ref(name: str) -> JsonSchema:
    """A named schema."""
    return {"$ref": f"#/components/schemas/{name}"}
