"""The problem documents (RFC 9457) that the service can answer with, as OpenAPI describes them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serving.json_schema import JsonSchema

__all__ = ["REQUEST_ID", "problem_responses", "problem_schema", "refusals"]

REQUEST_ID = {
    "X-Request-Id": {
        "description": "What the server's log calls the request: the one that was sent, or a new one.",
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
_ANY = (400, 405, 408, 413, 415, 431, 500, 503)
"""What a request can be answered with on any route: it cannot be read, or the service cannot answer."""
_KEYED = (401, 403, 429)


def refusals(*more: int, scope: str | None, body: bool) -> dict[str, JsonSchema]:
    """References to the problems of one operation, by status.

    Args:
        more: those that only this operation has.
        scope: what its key must be allowed; None if it needs none.
        body: whether it takes one.
    """
    statuses = {*_ANY, *more, *(_KEYED if scope else ()), *((422,) if body else ())}
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in sorted(statuses)}


def problem_schema() -> JsonSchema:
    """A problem document."""
    return {
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "properties": {
            "type": {"const": "about:blank"},
            "title": {"type": "string", "description": "The status in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What was wrong, and what to do about it."},
            "field": {
                "type": "string",
                "description": "The field that does not fit, after its place if it was in a list: `[3].amount`.",
            },
        },
        "required": ["type", "title", "status", "detail"],
        "examples": [_example(422, "amount: -5 is not between 0 and 1000000", "amount")],
    }


def problem_responses(max_body_bytes: int) -> dict[str, JsonSchema]:
    """Every problem, by the name that `refusals` refers to."""
    told: dict[int, tuple[str, dict[str, JsonSchema], list[JsonSchema]]] = {
        400: (
            "It is no request in HTTP/1.1.",
            {},
            [_example(400, "not a request in HTTP/1.1: Invalid method")],
        ),
        401: (
            "There is no API key, or none that is known.",
            {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to send one."}},
            [_example(401, "no API key came with the request")],
        ),
        403: (
            "The key may not do this.",
            {},
            [_example(403, "the API key 'till' may not do this: it has no scope admin")],
        ),
        404: (
            "There is none.",
            {},
            [_example(404, "no decision is known under this id: it was never made, or was forgotten since")],
        ),
        405: (
            "The path has no such method.",
            {"Allow": {"schema": {"type": "string"}, "description": "Those that it has."}},
            [_example(405, "GET is not allowed here")],
        ),
        406: (
            "Only an answer of another type is accepted.",
            {},
            [_example(406, "the answer can be application/json or text/csv, and neither is accepted")],
        ),
        408: ("The request was not whole in time.", {}, [_example(408, "the request was not whole in 10 s")]),
        409: (
            "It contradicts what is known.",
            {},
            [
                _example(
                    409,
                    "transaction_id: another event came before under the id 9000000001; send an event again as it was",
                    "transaction_id",
                )
            ],
        ),
        413: (
            "The body is too large.",
            {},
            [_example(413, f"the body is larger than {max_body_bytes} bytes")],
        ),
        415: (
            "The body is compressed, or of a type that the route does not take.",
            {"Accept-Encoding": {"schema": {"const": "identity"}, "description": "As it must come."}},
            [_example(415, "the body must not be compressed")],
        ),
        422: (
            "The body, or the query, does not fit. `field` names what does not.",
            {},
            [
                _example(422, "amount: -5 is not between 0 and 1000000", "amount"),
                _example(422, "[3].amount: is missing", "[3].amount"),
                _example(422, "the body is not JSON: Expecting value at character 0"),
                _example(422, "[0].amount: is there twice; leave one out", "[0].amount"),
                _example(422, "feature: is not a parameter; did you mean features?", "feature"),
            ],
        ),
        429: (
            "The key has used up its rate.",
            _RETRY_AFTER,
            [_example(429, "the API key 'till' may ask 100 times a second, and 200 at once")],
        ),
        431: ("The head is too long.", {}, [_example(431, "the head is longer than 32768 bytes")]),
        500: (
            "The service failed; its log says why.",
            {},
            [_example(500, "the service failed; its log says why")],
        ),
        503: (
            "Not now: too much waits, the service is ending, it has no model, or its store or log cannot be written.",
            _RETRY_AFTER,
            [
                _example(503, "too many events wait to be scored"),
                _example(503, "too many labels wait to be taken"),
            ],
        ),
    }
    return {
        _name(status): {
            "description": text,
            "headers": REQUEST_ID | headers,
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        f"{status}-{place}": {"value": value} for place, value in enumerate(examples, 1)
                    },
                }
            },
        }
        for status, (text, headers, examples) in told.items()
    }


def _example(status: int, detail: str, field: str = "") -> dict[str, Any]:
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return document | ({"field": field} if field else {})


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")
