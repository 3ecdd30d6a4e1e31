"""From a request to its handler and back, and one worker's life: accept, answer, follow the pointer, drain.

Everything that does not fit is answered with a problem document (RFC 9457).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from time import perf_counter

from mlops.errors import ConflictError, InputError, SetupError
from serving import admin_routes, health_routes, page_routes, protocols, scoring_routes
from serving.batcher import full
from serving.connections import Connections, Limits
from serving.gauges import refresh
from serving.http import REQUEST_ID, Problem, Request, Response, Route, problem
from serving.instruments import REJECTED, REQUEST_SECONDS, REQUESTS
from serving.logs import about
from serving.protocols import vertex
from serving.shedding import shedding
from serving.state import State

__all__ = ["ROUTES", "App", "begin_drain", "serve"]

ROUTES: tuple[Route, ...] = (
    *scoring_routes.ROUTES,
    *health_routes.ROUTES,
    *admin_routes.ROUTES,
    *page_routes.ROUTES,
    *protocols.ROUTES,
)

_OTHER = "other"
_ANY = "{"  # a part in braces
_TICK_S = 0.5
_READ_S = 0.02  # what was sent on a connection that was just accepted has been read by then
_SPARE_FILES = 64
_MOST_CONNECTIONS = 10_000
_HELD_BYTES = 128 * 2**20
_log = logging.getLogger("serving")


class _Part:
    """What may follow the beginning of a path, and the routes that end there."""

    __slots__ = ("methods", "more")

    def __init__(self) -> None:
        self.more: dict[str, _Part] = {}
        self.methods: dict[str, Route] = {}

    def add(self, route: Route) -> None:
        part = self
        for text in route.path.split("/"):
            part = part.more.setdefault(_ANY if text.startswith(_ANY) else text, _Part())
        part.methods[route.method] = route

    def find(self, path: str) -> tuple[dict[str, Route], tuple[str, ...]]:
        """The routes of a path, by method, and what stands in their braces."""
        part, match = self, tuple[str, ...]()
        for text in path.split("/"):
            if text in part.more and text != _ANY:
                part = part.more[text]
            elif text and _ANY in part.more:
                part, match = part.more[_ANY], (*match, text)
            else:
                return {}, ()
        return part.methods, match


class App:
    """Gives each request to the handler of its route, and each failure its document.

    Args:
        aliases: other paths of routes, as (method, path, path of the route); a route's own path stays its own.
    """

    def __init__(
        self,
        state: State,
        routes: Sequence[Route] = ROUTES,
        aliases: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        self._state = state
        self._routes: dict[str, dict[str, Route]] = {}
        self._braced = _Part()
        for route in routes:
            if "{" in route.path:
                self._braced.add(route)
            else:
                self._routes.setdefault(route.path, {})[route.method] = route
        for method, path, own in aliases:
            if method not in self._braced.find(path)[0]:
                self._routes.setdefault(path, {}).setdefault(method, self._routes[own][method])
        self._seconds = {route.path: REQUEST_SECONDS.of(route.path) for route in routes}
        self._seconds[_OTHER] = REQUEST_SECONDS.of(_OTHER)
        self.ids = f"{uuid.uuid4().hex[:16]}-"
        """What the ids begin with that it gives to requests."""
        self._numbers = count()

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """The response to a request.

        Raises:
            Exception: what `failed` makes a document of.
        """
        self._name(request)
        route = self._find(request)
        if route.scope is not None:
            self._state.access.check(request, route.scope)
        if request.headers and request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Problem(415, "the body must not be compressed", headers={b"accept-encoding": b"identity"})
        return route.handler(self._state, request)

    def when_full(self, path: str) -> tuple[str, Response] | None:
        """What is answered to a POST at a path while the queue is full, and before that the path of its route.

        None if what comes there does not wait in the queue.
        """
        route = (self._routes.get(path) or self._braced.find(path)[0]).get("POST")
        if route is None or not route.queued:
            return None
        refusal = full()
        response = problem(refusal.status, refusal.detail, headers=refusal.headers)
        return route.path, protocols.worded(path, response)

    def failed(self, request: Request, error: BaseException) -> Response:
        """What tells of a failure. What nobody foresaw is logged, and its words are kept from the peer."""
        if not request.id:
            self._name(request)
        return protocols.worded(request.path, self._document(request, error))

    def _document(self, request: Request, error: BaseException) -> Response:
        if isinstance(error, Problem):
            reason = error.more.get("reason")
            if reason is not None:
                self._state.metrics.cells[REJECTED.at(reason)] += 1
            more = {name: value for name, value in error.more.items() if name != "reason"}
            return problem(error.status, error.detail, headers=error.headers, **more)
        if isinstance(error, InputError):
            status = 409 if isinstance(error, ConflictError) else 422
            if error.where is not None:
                return problem(status, error.line(), field=error.where)
            return problem(status, error.line())
        if isinstance(error, SetupError):
            self._state.metrics.cells[REJECTED.at("store")] += 1
            self._state.follower.troubles.failed(error)
            _log.error("%s", error, extra=about(request))
            return problem(503, str(error), headers={b"retry-after": b"1"})
        _log.error("the service failed", exc_info=error, extra=about(request))
        return problem(500, "the service failed; its log says why")

    def answered(self, request: Request, response: Response) -> None:
        """Count an answer."""
        cells, path = self._state.metrics.cells, request.route
        cells[REQUESTS.at(path, response.status)] += 1
        self._state.metrics.observe(self._seconds[path], perf_counter() - request.started)

    def _name(self, request: Request) -> None:
        given = request.headers.get(b"x-request-id") if request.headers else None
        if given and REQUEST_ID.fullmatch(given):
            request.id = given.decode("ascii")
        else:
            request.id = f"{self.ids}{next(self._numbers):x}"

    def _find(self, request: Request) -> Route:
        path = request.path
        methods = self._routes.get(path)
        if methods is None:
            methods, request.match = self._braced.find(path)
            if not methods:
                raise Problem(404, "there is nothing at this path; /docs shows what there is")
        route = methods.get(request.method)
        if route is None and request.method == "HEAD":
            route = methods.get("GET")
        request.route = next(iter(methods.values())).path if route is None else route.path
        if route is None:
            allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])})).encode()
            raise Problem(405, f"{request.method} is not allowed here", headers={b"allow": allowed})
        return route


async def serve(state: State, listener: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Answer on a socket that listens, until `begin_drain` and what is in hand then is answered."""
    options, loop = state.options, asyncio.get_running_loop()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    app = App(state, aliases=vertex.aliases(os.environ))
    connections = Connections(
        app,
        app.failed,
        app.answered,
        Limits(
            body_bytes=options.max_body_bytes,
            timeout_s=options.timeout_seconds,
            idle_s=options.idle_seconds,
            connections=max(1, min(_MOST_CONNECTIONS, files - _SPARE_FILES)),
            held_bytes=max(_HELD_BYTES, 2 * options.max_body_bytes),
        ),
        admit=state.access.admit,
        shed=shedding(state.batcher, state.metrics, f"{app.ids}s", app.when_full),
    )
    state.connections = connections
    await state.follower.look()
    state.following = loop.create_task(state.follower.follow())
    state.following.add_done_callback(partial(_end, state, "the pointer is not followed any more"))
    ticking = loop.create_task(_tick(state))
    ticking.add_done_callback(partial(_end, state, "its clockwork has ended"))
    server = await loop.create_server(connections, sock=listener, backlog=2048)
    on_ready()
    try:
        await state.told_to_end.wait()
        connections.drain()
        await asyncio.sleep(options.drain_seconds)
        await _accept_rest(listener, connections)
        server.close()
        await asyncio.sleep(_READ_S)
        until = loop.time() + options.grace_seconds
        while connections.open and loop.time() < until:
            connections.close_idle()
            await asyncio.sleep(0.01)
        if connections.open:
            _log.warning("%d requests were not answered in time", len(connections.open))
            connections.abort()
    finally:
        server.close()
        for task in (state.following, ticking):
            task.cancel()
            await asyncio.wait([task])  # unlike `await task` it does not raise what ended the task
        state.follower.close()


async def _accept_rest(listener: socket.socket, connections: Connections) -> None:
    """Take over the connections that wait in the kernel, which would be reset with the socket."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # none waits any more, or one went away, or no more may be open
        while True:
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            await loop.connect_accepted_socket(connections, accepted)


def begin_drain(state: State) -> None:
    """Turn readiness, let each connection end with its next answer, and end when all is answered."""
    state.draining = True
    state.told_to_end.set()


async def _tick(state: State) -> None:
    while True:
        state.access.follow()
        if not state.draining and (why := state.follower.why_end()):
            _log.critical("the worker ends: %s", why)
            begin_drain(state)
        refresh(state)
        if state.connections is not None:
            state.connections.sweep()
        await asyncio.sleep(_TICK_S)


def _end(state: State, why: str, task: asyncio.Task[None]) -> None:
    """Without its tick a worker would let everybody in for ever, and without the other it would never be ready again:
    another takes its place.
    """
    if not task.cancelled() and (error := task.exception()):
        _log.critical("the worker ends: %s", why, exc_info=error)
        begin_drain(state)
