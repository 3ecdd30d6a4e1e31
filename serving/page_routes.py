"""The pages for people, and the OpenAPI document that they are drawn from. They load nothing from anywhere else.

A page is one HTML file. A comment in it that names files of its folder stands for their text, so style and scripts are
inline, and the Content-Security-Policy allows these by their digests and nothing besides.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import msgspec

from serving.by_hand import hints
from serving.http import Problem, Request, Response, Route
from serving.openapi import document
from serving.scoring_routes import MAX_EVENTS, MAX_LABELS, MAX_REASONS, MAX_ROWS
from serving.state import State

__all__ = ["ROUTES"]

_FOLDER = Path(__file__).with_name("pages")
_INCLUDED = re.compile(r"/\* ([a-z]+\.(?:css|js)(?: [a-z]+\.(?:css|js))*) \*/")
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
_last: dict[bool, tuple[tuple[str, str], bytes]] = {}
"""The document as it was last written, by the bundle's digest and version; for strangers and for others."""


def openapi(state: State, request: Request) -> Response:
    """The OpenAPI document of the model that answers; where keys are asked for, a stranger's does not name it."""
    service = state.follower.service
    bundle = service.scorer.bundle if service else None
    version = service.scorer.version if service else ""
    named = _is_known(state, request)
    key = (bundle.digest if bundle else "", version)
    last, written = _last.get(named, (None, b""))
    if last == key:
        return Response(written)
    described = document(
        bundle,
        version,
        named=named,
        max_events=MAX_EVENTS,
        max_labels=MAX_LABELS,
        max_rows=MAX_ROWS,
        max_reasons=MAX_REASONS,
        max_body_bytes=state.options.max_body_bytes,
    )
    whole = True
    if service:
        told = hints(service, asks_for_keys=state.options.keys is not None)
        described["info"]["x-by-hand"] = told
        whole = bool(told["known"]) or told["asks_for_key"] or not told["keys"]
    written = msgspec.json.encode(described)
    _last.pop(named, None)
    if whole:  # else the store has nothing yet, and may have more the next time
        _last[named] = (key, written)
    return Response(written)


def docs(state: State, request: Request) -> Response:
    """The OpenAPI document, to be read and tried."""
    return _DOCS


def index(state: State, request: Request) -> Response:
    """Score an event by hand."""
    return _INDEX


def _is_known(state: State, request: Request) -> bool:
    """Whether it came with a key, where one is asked for."""
    try:
        state.access.admit(request.headers)
    except Problem:
        return False
    return True


def _page(name: str) -> Response:
    html = _INCLUDED.sub(_texts, (_FOLDER / name).read_text("utf-8"))
    allowed: dict[str, str] = {"style": "'none'", "script": "'none'"}
    for kind, text in _INLINE.findall(html):
        allowed[kind] = f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
    policy = (
        f"default-src 'none'; style-src {allowed['style']}; script-src {allowed['script']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    headers = {
        b"content-security-policy": policy.encode(),
        b"cache-control": b"no-cache",
        b"referrer-policy": b"no-referrer",
        b"x-content-type-options": b"nosniff",
    }
    return Response(html.encode(), 200, b"text/html; charset=utf-8", headers)


def _texts(names: re.Match[str]) -> str:
    return "".join((_FOLDER / name).read_text("utf-8") for name in names[1].split())


_DOCS = _page("docs.html")
_INDEX = _page("index.html")

ROUTES = (
    Route(method="GET", path="/openapi.json", handler=openapi, scope=None),
    Route(method="GET", path="/docs", handler=docs, scope=None),
    Route(method="GET", path="/", handler=index, scope=None),
)
