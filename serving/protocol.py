"""HTTP/1.1 on one connection: bytes to requests, responses to bytes. The parser is llhttp, by way of httptools.

A connection answers one request at a time, in their order; those that were sent ahead wait. What a peer can make it
hold is bounded: the head and the body of a request, how long one may take to arrive, requests sent ahead, and answers
that are not read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

import httptools

from serving.http import HEADERS, Problem, Request, Response, problem

if TYPE_CHECKING:
    from serving.connections import Connections

__all__ = ["Connection"]

_HEAD_BYTES = 32 * 1024
_STRANGERS_BYTES = 64 * 1024
_AHEAD = 32
_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_KEPT = frozenset(HEADERS)
_now = time.perf_counter
_log = logging.getLogger("serving")


class Connection(asyncio.Protocol):
    """One connection; httptools calls the `on_…` methods."""

    __slots__ = (
        "_ahead",
        "_body",
        "_connections",
        "_current",
        "_deaf",
        "_ending",
        "_head",
        "_headers",
        "_held",
        "_in_head",
        "_keep_alive",
        "_parser",
        "_peer",
        "_size",
        "_started",
        "_stuck_since",
        "_touched",
        "_transport",
        "_url",
    )

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport = cast(asyncio.Transport, None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._ahead: deque[tuple[Request, bool]] = deque()
        self._current: Request | None = None
        self._keep_alive = True
        self._ending = False  # once all that came is answered, the connection is closed
        self._deaf = False  # what still comes is not read
        self._touched = _now()
        self._stuck_since = 0.0
        self._held = 0  # bytes of bodies that are not answered
        self._peer = ""
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""
        self._size = self._head = 0
        self._in_head = True
        self._started = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered."""
        return self._current is not None or bool(self._ahead) or self._started > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self._peer = str(name[0]) if isinstance(name, tuple) else "local"
        connections = self._connections
        connections.open.add(self)
        if len(connections.open) > connections.limits.connections:
            self._refuse(Problem(503, "too many connections", headers={b"retry-after": b"1"}, reason="queue"))
            self._transport.close()  # at once: one that lingered would count

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.open.discard(self)
        self._let_go(self._held)
        self._ahead.clear()
        self._body = b""
        self._parser = None

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._in_head:
            connections = self._connections
            if not (self.busy or connections.draining) and (shed := connections.shed(data)):
                self._touched = _now()
                self._transport.write(shed)
                return
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Another protocol is not spoken: the answer to the request is in HTTP/1.1, and nothing follows.
            self._deaf = True
            self._end()
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, Problem):
                raise
            self._refuse(cause)
        except httptools.HttpParserError as error:
            self._refuse(Problem(400, f"not a request in HTTP/1.1: {error}"[:200]))
        else:
            if self._in_head and self._head > _HEAD_BYTES:
                self._refuse(Problem(431, f"the head is longer than {_HEAD_BYTES} bytes"))

    def eof_received(self) -> bool:
        """A peer that sends no more still gets its answer."""
        self._started = 0.0  # what came in part stays so
        self._ending = True
        return self.busy

    def pause_writing(self) -> None:
        self._stuck_since = _now()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stuck_since = 0.0
        if len(self._ahead) < _AHEAD:
            self._transport.resume_reading()

    def on_message_begin(self) -> None:
        self._started = _now()

    def on_url(self, url: bytes) -> None:
        self._size += len(url)
        self._check_head()
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if not self._in_head:  # what follows a body in chunks: it says nothing about the request
            self._check_size(self._size)
            return
        self._check_head()
        name = name.lower()
        if name in _KEPT or (name == b"expect" and value.lower() == b"100-continue"):
            self._headers[name] = value
        elif name == b"content-length" and value.isdigit():
            self._check_size(int(value) if len(value) < 19 else 1 << 62)

    def on_headers_complete(self) -> None:
        self._in_head, self._size = False, 0
        if self._headers and self._headers.pop(b"expect", b"") and self._current is None:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        connections, size, more = self._connections, self._size, len(body)
        self._size = size + more
        self._check_size(self._size)
        if size <= _STRANGERS_BYTES < self._size:
            connections.admit(self._headers)
        self._held += more
        connections.held += more
        if connections.held > connections.limits.held_bytes:
            raise Problem(503, "too much is being sent", headers={b"retry-after": b"1"}, reason="body")
        if not size:
            self._body = body
            return
        if not isinstance(self._body, bytearray):
            self._body = bytearray(self._body)
        self._body += body

    def on_message_complete(self) -> None:
        path, _, query = self._url.partition(b"?")
        if (
            not path.startswith(b"/") and b"://" in path
        ):  # as proxies are asked, and servers have to understand
            path = b"/" + path.split(b"://", 1)[1].partition(b"/")[2]
        if b"%" in path:
            path = unquote_to_bytes(path)
        request = Request(
            self._parser.get_method().decode("ascii"),
            path.decode("utf-8", "replace"),
            query,
            self._headers,
            bytes(self._body),
            self._peer,
            self._started,
        )
        keep_alive = bool(self._parser.should_keep_alive())
        self._begin()
        if self._current is None and not self._ahead:
            self._start(request, keep_alive)
            return
        self._ahead.append((request, keep_alive))
        if len(self._ahead) >= _AHEAD:
            self._transport.pause_reading()

    def check_age(self, now: float) -> None:
        """End the connection if what is being read, or not being read, takes too long."""
        limits = self._connections.limits
        if self._stuck_since and now - self._stuck_since > limits.timeout_s:
            self.abort()
        elif self._current is not None:
            return
        elif self._deaf:
            if now - self._touched > limits.timeout_s:
                self.abort()
        elif self._started:
            if now - self._started > limits.timeout_s:
                detail = f"the request was not whole in {limits.timeout_s:g} s"
                self._refuse(Problem(408, detail, reason="timeout"))
        elif now - self._touched > limits.idle_s:
            self.close()

    def close(self) -> None:
        """Close when all that was written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _let_go(self, size: int) -> None:
        self._held -= size
        self._connections.held -= size

    def _check_head(self) -> None:
        if self._size > _HEAD_BYTES:  # it may be whole at once
            raise Problem(431, f"the head is longer than {_HEAD_BYTES} bytes")

    def _check_size(self, size: int) -> None:
        limit = self._connections.limits.body_bytes
        if size > limit:
            raise Problem(413, f"the body is larger than {limit} bytes", reason="body")

    def _start(self, request: Request, keep_alive: bool) -> None:
        self._current = request
        self._keep_alive = self._keep_alive and keep_alive
        connections = self._connections
        try:
            given = connections.app(request)
            if isinstance(given, Response):
                self._finish(request, given)
                return
            waiting = asyncio.ensure_future(given)
        except Exception as error:  # noqa: BLE001 - `failed` names what is known, and logs what is not
            self._finish(request, self._failed(request, error))
            return
        waiting.add_done_callback(partial(self._arrived, request))

    def _arrived(self, request: Request, waiting: asyncio.Future[Response]) -> None:
        if waiting.cancelled():
            error: BaseException | None = Problem(503, "the service is ending")
        else:
            error = waiting.exception()
        self._finish(request, self._failed(request, error) if error else waiting.result())

    def _failed(self, request: Request, error: BaseException) -> Response:
        """What answers a failure, and what does where that fails: whoever waits must not wait for ever."""
        try:
            return self._connections.failed(request, error)
        except Exception:  # noqa: BLE001 - it is logged, and there is nobody else to tell
            _log.exception("a failure could not be told")
            return problem(500, "the service failed; its log says why")

    def _finish(self, request: Request, response: Response) -> None:
        """Write an answer, and begin with the next request if one waits."""
        self._current = None
        if self._parser is None:  # the peer went away
            return
        self._let_go(len(request.body))
        self._touched = _now()
        ending = self._ending or self._connections.draining
        keep_alive = self._keep_alive and (not ending or bool(self._ahead))
        self._write(request, response, keep_alive)
        if not keep_alive:
            self._deaf = True
            self._transport.close()
        elif self._ahead:
            # Not from here, lest requests sent ahead make a stack of calls.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._current is None and self._ahead:
            if len(self._ahead) == _AHEAD and not self._stuck_since:
                self._transport.resume_reading()
            self._start(*self._ahead.popleft())

    def _write(self, request: Request, response: Response, keep_alive: bool) -> None:
        more = b""
        if response.headers:
            more = b"".join([b"%b: %b\r\n" % pair for pair in response.headers.items()])
        if not keep_alive:
            more += b"connection: close\r\n"
        head = b"%b%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (
            _LINES[response.status],
            self._connections.date,
            response.type,
            len(response.body),
            request.id.encode(),
            more,
        )
        self._transport.write(head if request.method == "HEAD" else head + response.body)
        self._connections.answered(request, response)

    def _refuse(self, error: Problem) -> None:
        """Answer what cannot be read to its end, unless others are still to be answered before it, and close."""
        self._deaf = True
        request = Request("", "", b"", {}, b"", self._peer, self._started or _now())
        response = self._failed(request, error)
        if self._current is None and not self._ahead:
            self._write(request, response, keep_alive=False)
        kept = sum(len(request.body) for request, _ in self._ahead)
        self._let_go(self._held - kept - (len(self._current.body) if self._current is not None else 0))
        self._started, self._body = 0.0, b""
        self._end()

    def _end(self) -> None:
        """Close when all is answered. What the peer still sends is read, lest the answer is lost with it."""
        self._ending, self._touched = True, _now()
        if not self.busy and self._transport.can_write_eof():
            self._transport.write_eof()
