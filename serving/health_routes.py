"""What is asked about the server: whether it lives, is ready, what answers, and how it does."""

from __future__ import annotations

import asyncio

from serving.decisions import damaged_lines
from serving.http import Request, Response, Route, json_response
from serving.metrics import CONTENT_TYPE
from serving.scoring_routes import service_of
from serving.service import Service
from serving.state import State

__all__ = ["ROUTES"]


def livez(state: State, request: Request) -> Response:
    """The process answers."""
    return Response(b'{"status":"alive"}')


async def readyz(state: State, request: Request) -> Response:
    """200 if a model answers, store and log can be used, the pointer is followed and the server stays; and why not.

    A file of keys that cannot be followed is told and no more: those that it had are in force. So are lines of the log
    that are damaged: they were passed over.
    """
    follower = state.follower
    service = follower.service
    following = state.following is not None and not state.following.done()
    store = await asyncio.to_thread(_why_unreachable, service) if service else None
    store, log = store or follower.troubles.why("store"), follower.troubles.why("log")
    ready = service is not None and store is None and log is None and following and not state.draining
    return json_response(
        {
            "status": "ready" if ready else "not ready",
            "following": following,
            "draining": state.draining,
            "version": service.scorer.version if service else None,
            "digest": service.scorer.bundle.digest if service else None,
            "pointer": follower.waiting,
            "refused": follower.refused,
            "store": store,
            "log": log or _damage(),
            "keys": state.access.fault or None,
        },
        200 if ready else 503,
    )


def model(state: State, request: Request) -> Response:
    """What answers now."""
    scorer = service_of(state).scorer
    manifest = scorer.bundle.manifest
    return json_response(
        {
            "name": manifest.name,
            "version": scorer.version,
            "framework": manifest.framework,
            "task": scorer.bundle.schema.task,
            "digest": scorer.bundle.digest,
            "features": [
                {"name": name, "unit": unit, "description": text}
                for name, unit, text in scorer.bundle.features.describe()
            ],
        }
    )


def metrics(state: State, request: Request) -> Response:
    """All workers' metrics, for Prometheus."""
    return Response(state.metrics.text(), 200, CONTENT_TYPE)


def _damage() -> str | None:
    found = [
        f"{path}: damaged lines that are passed over: {count}" for path, count in damaged_lines().items()
    ]
    return "; ".join(found) or None


ROUTES = (
    Route(method="GET", path="/livez", handler=livez, scope=None),
    Route(method="GET", path="/readyz", handler=readyz, scope=None),
    Route(method="GET", path="/metrics", handler=metrics, scope=None),
    Route(method="GET", path="/v1/model", handler=model, scope="score"),
)


def _why_unreachable(service: Service) -> str | None:
    return service.reachable.why_not()
