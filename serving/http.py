"""A request, a response, a route: what every handler of the service takes and gives.

A handler is a plain function. It gives a `Response`, or an awaitable of one where it has to wait; what it raises of
`mlops.errors` becomes a problem document (RFC 9457), and so does every other failure, without its words.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from mlops.api_keys import Scope
from mlops.errors import InputError

if TYPE_CHECKING:
    from serving.state import State

__all__ = [
    "HEADERS",
    "REQUEST_ID",
    "Handler",
    "Problem",
    "Request",
    "Response",
    "Route",
    "Scope",
    "json_response",
    "problem",
]

HEADERS = (
    b"authorization",
    b"x-api-key",
    b"x-request-id",
    b"content-type",
    b"content-encoding",
    b"accept",
    b"inference-header-content-length",
)
"""The headers that a request keeps besides those of the protocol."""

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,64}")
"""What a request may bring as its id; in place of anything else it is given one."""

_encode = msgspec.json.encode


class Request:
    """A whole request: its body is there.

    Fields:
        path: decoded, without the query; query: as it was sent.
        headers: those of `HEADERS`, by their lower-case names.
        id: what the log and the answer call it.
        caller: the name of the key it came with; empty where none is asked for.
        peer: the address it came from.
        started: when its first byte came, by `time.perf_counter`.
        route: the path of the route that took it, `other` if none did.
        match: what stands where that path has parts in braces.
    """

    __slots__ = (
        "body",
        "caller",
        "headers",
        "id",
        "match",
        "method",
        "path",
        "peer",
        "query",
        "route",
        "started",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        peer: str = "",
        started: float = 0.0,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer
        self.started = started
        self.id = ""
        self.caller = ""
        self.match: tuple[str, ...] = ()
        self.route = "other"

    def flag(self, name: str) -> bool:
        """Whether the query says `name=true`.

        Raises:
            InputError: it says neither that nor `false`.
        """
        if not self.query:
            return False
        for said in parse_qs(self.query.decode("latin-1"), keep_blank_values=True).get(name, ()):
            if said.lower() not in ("true", "false"):
                raise InputError(f"must be true or false, not {said[:40]!r}", where=name)
            if said.lower() == "true":
                return True
        return False


class Response:
    """Status, body, its type, and more headers, as bytes."""

    __slots__ = ("body", "headers", "status", "type")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        type: bytes = b"application/json",
        headers: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.type = type
        self.headers = headers


class Problem(Exception):
    """An answer with a problem document that no error of the platform stands for, such as 404 or 413.

    Args:
        more: further members of the document.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[bytes, bytes] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.more = more


Handler = Callable[["State", Request], Response | Awaitable[Response]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a handler answers.

    Fields:
        path: a part in braces, as in `/v1/decisions/{id}`, stands for any text without a slash.
        scope: what a key must be allowed; None where none is asked for.
        queued: whether events that come here wait in the queue, so that all is turned away while that is full.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    queued: bool = False


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(_encode(value), status)


def problem(
    status: int, detail: str, *, headers: Mapping[bytes, bytes] | None = None, **more: Any
) -> Response:
    """A problem document (RFC 9457)."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    encodable = {name: _encodable(value) for name, value in (document | more).items()}
    return Response(_encode(encodable), status, b"application/problem+json", headers)


def _encodable(value: Any) -> Any:
    """A text without halves of surrogate pairs, which JSON can write and UTF-8 cannot."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
