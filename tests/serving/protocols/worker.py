"""A worker without its sockets: a request goes to its handler and back as it does behind a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from serving.app import App
from serving.http import Request, Response
from serving.shared import Shared
from serving.state import State
from serving.worker import _state
from tests.serving.example import World

__all__ = ["Worker", "working"]


class Worker:
    """One worker of a world's server, with its real store, log and model."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.app = App(state)
        self.loop = asyncio.new_event_loop()
        self.look()

    def look(self) -> None:
        """Follow the pointer."""
        self.loop.run_until_complete(self.state.follower.look())

    def request(
        self, method: str, path: str, body: object = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """The response to `body`, sent as JSON or as the bytes that it is."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        path, _, query = path.partition("?")
        request = Request(method, path, query.encode(), named, data)
        return self.loop.run_until_complete(self._respond(request))

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """The status, and the body decoded."""
        response = self.request("POST", path, body, headers)
        return response.status, msgspec.json.decode(response.body)

    def get(self, path: str) -> tuple[int, Any]:
        """The status, and the body decoded."""
        response = self.request("GET", path)
        return response.status, msgspec.json.decode(response.body) if response.body else None

    async def _respond(self, request: Request) -> Response:
        try:
            given = self.app(request)
            response = given if isinstance(given, Response) else await given
        except Exception as error:  # noqa: BLE001 - as the connection does
            response = self.app.failed(request, error)
        self.app.answered(request, response)
        return response


@contextmanager
def working(world: World, **changes: Any) -> Iterator[Worker]:
    """A worker of `world`, whose options are changed."""
    worker = Worker(_state(world.options(**changes), Shared.create(1)))
    try:
        yield worker
    finally:
        worker.state.follower.close()
        worker.loop.close()
