"""The HTTP interface. Everything that does not fit is answered with a problem document (RFC 9457)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.errors import ConflictError, InputError, SetupError
from serving.events import decode_json
from serving.follower import MAX_EVENTS, MAX_LABELS, Follower
from serving.service import Answer, Service

__all__ = ["create_app"]

MAX_BODY_BYTES = 8 * 2**20
T = TypeVar("T")
_encode = msgspec.json.encode
_answer = msgspec.json.Decoder(Answer)
_log = logging.getLogger("serving")


def create_app(follower: Follower, *, poll_seconds: float) -> Starlette:
    """The application; while it runs, it looks at the pointer every `poll_seconds`."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        _put_next(follower, follower.check())
        task = asyncio.create_task(_follow(follower, poll_seconds))
        task.add_done_callback(_report)
        app.state.following = task
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])  # unlike `await task` it does not raise what ended the task
            follower.close()

    app = Starlette(
        routes=[
            Route("/v1/score", score, methods=["POST"]),
            Route("/v1/labels", labels, methods=["POST"]),
            Route("/v1/model", model),
            Route("/livez", livez),
            Route("/readyz", readyz),
        ],
        lifespan=lifespan,
        exception_handlers={
            ConflictError: _conflict,
            InputError: _input_error,
            SetupError: _setup_error,
            HTTPException: _http_error,
            ClientDisconnect: _disconnected,
            Exception: _own_fault,
        },
    )
    app.state.follower = follower
    return app


async def score(request: Request) -> Response:
    """One event → one answer; a list of at most 100 → a list of answers in its order."""
    service = _service(request)
    raw = decode_json(await _body(request))
    reader = service.scorer.reader
    with_features = b"features=true" in request.scope["query_string"].split(b"&")
    if isinstance(raw, list):
        answers = service.score(_each(raw, reader.event, MAX_EVENTS, "events"))
    else:
        answers = service.score([reader.event(raw)])
    if not with_features:
        answers = [_encode(_answer.decode(answer)) for answer in answers]
    return _json(b"[" + b",".join(answers) + b"]" if isinstance(raw, list) else answers[0])


async def labels(request: Request) -> Response:
    """A list of at most 1,000 labels → how many were applied, and the ids held for events that did not come yet."""
    service = _service(request)
    raw = decode_json(await _body(request))
    if not isinstance(raw, list):
        raise InputError("the body must be a list of labels")
    unknown = service.label(_each(raw, service.scorer.reader.label, MAX_LABELS, "labels"))
    return _json(_encode({"accepted": len(raw) - len(unknown), "unknown": unknown}))


async def model(request: Request) -> Response:
    """What answers now."""
    scorer = _service(request).scorer
    manifest = scorer.bundle.manifest
    described = scorer.bundle.features.describe()
    return _json(
        _encode(
            {
                "name": manifest.name,
                "version": scorer.version,
                "framework": manifest.framework,
                "task": scorer.bundle.schema.task,
                "digest": scorer.bundle.digest,
                "features": [
                    {"name": name, "unit": unit, "description": text} for name, unit, text in described
                ],
            }
        )
    )


async def livez(request: Request) -> Response:
    """The process answers."""
    return _json(b'{"status":"alive"}')


async def readyz(request: Request) -> Response:
    """200 if a model answers, the store can be reached and the pointer is followed, else 503; and why not."""
    follower: Follower = request.app.state.follower
    service = follower.service
    following = not request.app.state.following.done()
    unreachable = await asyncio.to_thread(_why_unreachable, service) if service else None
    ready = service is not None and unreachable is None and following
    state = {
        "status": "ready" if ready else "not ready",
        "following": following,
        "version": service.scorer.version if service else None,
        "digest": service.scorer.bundle.digest if service else None,
        "refused": follower.refused,
        "store": unreachable,
    }
    return _json(_encode(state), 200 if ready else 503)


def _why_unreachable(service: Service) -> str | None:
    try:
        service.store.server_run()
    except SetupError as error:
        return error.line()
    return None


async def _follow(follower: Follower, poll_seconds: float) -> None:
    while True:
        await asyncio.sleep(poll_seconds)
        _put_next(follower, await asyncio.to_thread(follower.check))


def _put_next(follower: Follower, scorer: Any) -> None:
    if scorer is not None:
        follower.put(scorer)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("the pointer is not followed any more", exc_info=error)


def _service(request: Request) -> Service:
    service: Service | None = request.app.state.follower.service
    if service is None:
        raise HTTPException(503, "no model is deployed yet; /readyz says why")
    return service


def _each(raw: list[Any], read: Callable[[Any, str], T], limit: int, what: str) -> list[T]:
    if len(raw) > limit:
        raise InputError(f"{len(raw)} {what} in one request", todo=f"send at most {limit}")
    return [
        read(item, f"[{place}]" if type(item) is not dict else f"[{place}].")
        for place, item in enumerate(raw)
    ]


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json")


def _problem(status: int, detail: str, **more: Any) -> Response:
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(_encode(document | more), status, media_type="application/problem+json")


async def _input_error(request: Request, error: Exception, status: int = 422) -> Response:
    assert isinstance(error, InputError)
    return _problem(status, error.line(), **({"field": error.where} if error.where else {}))


async def _conflict(request: Request, error: Exception) -> Response:
    return await _input_error(request, error, 409)


async def _setup_error(request: Request, error: Exception) -> Response:
    _log.error("%s", error)
    return _problem(503, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _problem(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def _disconnected(request: Request, error: Exception) -> Response:
    return _problem(400, "the client went away")


async def _own_fault(request: Request, error: Exception) -> Response:
    return _problem(500, "the service failed; its log says why")
