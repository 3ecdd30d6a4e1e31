"""HTTP/1.1 over real sockets: what a connection answers, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import uvloop

from serving.connections import Connections, Limits
from serving.http import Problem, Request, Response, problem

LIMITS = Limits(body_bytes=1000, timeout_s=0.3, idle_s=0.5, connections=3, held_bytes=2500)
PATIENT = msgspec.structs.replace(LIMITS, timeout_s=10.0)
"""For clients that take their time, and more of it on a machine that is busy."""

Handler = Callable[[Request], "Response | Awaitable[Response]"]


def echo(request: Request) -> Response:
    """What the request was, as text."""
    request.id = "r1"
    return Response(f"{request.method} {request.path} {request.query.decode()} {len(request.body)}".encode())


def failed(request: Request, error: BaseException) -> Response:
    """The document of a `Problem`; 500 for all else."""
    request.id = "r1"
    return problem(error.status, error.detail) if isinstance(error, Problem) else problem(500, "failed")


class Talk:
    """A server on a free port, and what a client does with it, in one loop."""

    def __init__(self, handler: Handler = echo, limits: Limits = LIMITS) -> None:
        self.connections = Connections(handler, failed, lambda request, response: None, limits)

    def run(self, client: Callable[[int], Awaitable[Any]]) -> Any:
        async def both() -> Any:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(self.connections, "127.0.0.1", 0)
            sweeping = loop.create_task(self._sweep())
            try:
                return await asyncio.wait_for(client(server.sockets[0].getsockname()[1]), 20)
            finally:
                sweeping.cancel()
                self.connections.abort()
                server.close()

        return uvloop.run(both())

    def say(self, *parts: bytes, pause: float = 0.0, eof: bool = False) -> bytes:
        """All that comes back to these bytes until the server closes, or says no more for 0.2 seconds."""

        async def client(port: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause)
            if eof:
                writer.write_eof()
            heard = b""
            while True:
                try:
                    more = await asyncio.wait_for(reader.read(65536), 1.2 if not heard else 0.3)
                except TimeoutError:
                    writer.close()
                    return heard
                if not more:
                    writer.close()
                    return heard + b"<closed>"
                heard += more

        heard: bytes = self.run(client)
        return heard

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.connections.sweep()


def bodies(heard: bytes) -> list[bytes]:
    """The bodies of some answers, whose lengths must be right."""
    found = []
    while heard.startswith(b"HTTP/1.1 "):
        head, _, rest = heard.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line[:14] == b"content-length"
        )
        found.append(rest[:length])
        heard = rest[length:]
    assert heard in (b"", b"<closed>"), heard
    return found


def status(heard: bytes) -> int:
    return int(heard.split(b" ", 2)[1])


def test_a_connection_answers_one_request_after_the_other() -> None:
    heard = Talk().say(
        b"GET /a?x=1 HTTP/1.1\r\n\r\n", b"POST /b HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", pause=0.05
    )
    assert bodies(heard) == [b"GET /a x=1 0", b"POST /b  3"]
    assert not heard.endswith(b"<closed>")
    assert b"x-request-id: r1\r\n" in heard
    assert b"\r\ndate: " in heard


def test_requests_sent_ahead_are_answered_in_their_order_whatever_they_take() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.1 if request.path == "/1" else 0)
        return echo(request)

    heard = Talk(slow).say(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % n for n in range(1, 101)))
    assert bodies(heard) == [b"GET /%d  0" % n for n in range(1, 101)]


def test_requests_that_come_while_others_wait_are_answered_after_them() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.002)
        return echo(request)

    heard = Talk(slow).say(*(b"GET /%d HTTP/1.1\r\n\r\n" % n for n in range(200)), pause=0.0005)
    assert bodies(heard) == [b"GET /%d  0" % n for n in range(200)]


def test_what_follows_chunks_says_nothing_about_the_request() -> None:
    seen: list[dict[bytes, bytes]] = []

    def note(request: Request) -> Response:
        seen.append(request.headers)
        return echo(request)

    chunks = b"1f4\r\n" + 500 * b"x" + b"\r\n0\r\nx-api-key: other\r\n\r\n"
    heard = Talk(note).say(
        b"POST / HTTP/1.1\r\nx-api-key: mine\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    )
    assert bodies(heard) == [b"POST /  500"]
    assert seen == [{b"x-api-key": b"mine"}]


def test_a_target_may_name_the_server_as_well() -> None:
    assert bodies(Talk().say(b"GET http://x:80/a/b?c=1 HTTP/1.1\r\n\r\n")) == [b"GET /a/b c=1 0"]


def test_only_the_beginning_of_a_request_is_turned_away_unread() -> None:
    start = b"POST /v1/score HTTP/1.1\r\n"
    talk = Talk()
    talk.connections.shed = lambda data: b"SHED" if data.startswith(start) else None
    assert talk.say(start + b"\r\n") == b"SHED"
    assert bodies(talk.say(b"GET / HTTP/1.1\r\nx: ", start + b"\r\n", pause=0.05)) == [b"GET /  0"]


def test_a_failure_that_cannot_be_told_is_still_an_answer() -> None:
    async def fails_later(request: Request) -> Response:
        raise RuntimeError("secret")

    def fails(request: Request) -> Response:
        raise RuntimeError("secret")

    for handler in (fails, fails_later):
        talk = Talk(handler)
        talk.connections.failed = lambda request, error: 1 / 0  # type: ignore[assignment,return-value]
        assert status(talk.say(b"GET / HTTP/1.1\r\n\r\n")) == 500


def test_a_body_may_come_in_chunks_and_a_byte_at_a_time() -> None:
    chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    assert bodies(Talk().say(chunked)) == [b"POST /  7"]
    slowly = Talk(limits=PATIENT).say(*(bytes((byte,)) for byte in chunked), pause=0.001)
    assert bodies(slowly) == [b"POST /  7"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\n\r\n", False),
    ],
)
def test_it_is_closed_when_the_client_says_so(sent: bytes, expected: bool) -> None:
    heard = Talk().say(sent)
    assert heard.endswith(b"<closed>") == expected
    assert (b"connection: close" in heard) == expected


def test_who_sends_no_more_still_gets_all_answers() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return echo(request)

    heard = Talk(slow).say(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", eof=True)
    assert bodies(heard) == [b"GET /1  0", b"GET /2  0"]
    assert heard.endswith(b"<closed>")


def test_head_has_no_body() -> None:
    heard = Talk().say(b"HEAD / HTTP/1.1\r\n\r\n")
    assert heard.endswith(b"\r\n\r\n")
    assert b"content-length: 9\r\n" in heard


def test_who_asks_before_sending_a_body_is_told_to_go_on() -> None:
    heard = Talk().say(
        b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n", b"ab", pause=0.1
    )
    assert heard.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


def test_another_protocol_is_not_spoken_but_the_request_is_answered() -> None:
    heard = Talk().say(b"GET / HTTP/1.1\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\r\n")
    assert bodies(heard) == [b"GET /  0"]
    assert heard.endswith(b"<closed>")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n" + 1001 * b"x", 413),
        (b"GET / HTTP/1.1\r\nx: " + 40_000 * b"x", 431),
        (b"GET /" + 40_000 * b"x", 431),
        (b"GET / HTTP/1.1\r\nx: " + 40_000 * b"x" + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab", 408),
        (b"GET / HT", 408),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(sent: bytes, expected: int) -> None:
    heard = Talk().say(sent)
    assert status(heard) == expected, heard
    assert msgspec.json.decode(bodies(heard)[0])["status"] == expected
    assert heard.endswith(b"<closed>")


def test_garbage_after_a_request_does_not_take_its_answer() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return echo(request)

    assert bodies(Talk(slow).say(b"GET /1 HTTP/1.1\r\n\r\n\x00\x01\x02")) == [b"GET /1  0"]


def test_a_refused_body_does_not_take_the_refusal_with_it() -> None:
    head = b"POST / HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n"
    heard = Talk(limits=PATIENT).say(head, *(100_000 * b"x" for _ in range(30)), pause=0.002)
    assert status(heard) == 413


def test_a_failure_is_an_answer() -> None:
    def fails(request: Request) -> Response:
        raise RuntimeError("secret")

    async def fails_later(request: Request) -> Response:
        raise RuntimeError("secret")

    for handler in (fails, fails_later):
        heard = Talk(handler).say(b"GET / HTTP/1.1\r\n\r\n")
        assert status(heard) == 500
        assert b"secret" not in heard


def test_a_silent_connection_is_closed() -> None:
    assert Talk().say(b"") == b"<closed>"


def test_more_connections_than_may_be_are_turned_away() -> None:
    async def client(port: int) -> list[bytes]:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for _, writer in opened:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        return [await reader.read(20) for reader, _ in opened]

    assert sorted(answer[:12] for answer in Talk().run(client)) == 3 * [b"HTTP/1.1 200"] + [b"HTTP/1.1 503"]


def test_draining_answers_and_closes() -> None:
    talk = Talk()

    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /1 HTTP/1.1\r\n\r\n")
        first = await reader.readuntil(b" 0")
        talk.connections.drain()
        writer.write(b"GET /2 HTTP/1.1\r\n\r\n")
        return first + await reader.read()

    heard = talk.run(client)
    assert bodies(heard) == [b"GET /1  0", b"GET /2  0"]
    assert heard.count(b"connection: close") == 1


def test_a_peer_that_does_not_read_costs_no_memory() -> None:
    big = Response(200_000 * b"x")
    talk = Talk(lambda request: big)

    def flood(port: int) -> int:
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.settimeout(0.2)
            sent, until = 0, time.monotonic() + 3
            try:
                while time.monotonic() < until:
                    sent += peer.send(100 * b"GET / HTTP/1.1\r\n\r\n")
            except OSError:
                pass
            return sent

    async def client(port: int) -> tuple[int, int]:
        sent = await asyncio.to_thread(flood, port)
        for _ in range(100):
            if not talk.connections.open:
                break
            await asyncio.sleep(0.02)
        return sent, len(talk.connections.open)

    sent, still_open = talk.run(client)
    assert sent < 10_000_000  # far less than was asked for: reading stopped
    assert still_open == 0


def test_a_long_url_is_a_long_head() -> None:
    heard = Talk().say(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n")
    assert status(heard) == 431 and heard.endswith(b"<closed>")


def test_bodies_that_are_not_answered_are_bounded_together_and_let_go_when_they_are() -> None:
    head = b"POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n"
    talk = Talk(limits=PATIENT)

    async def client(port: int) -> list[bytes]:
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in streams:  # the third is one too many
            writer.write(head + b"x" * 900)
            await writer.drain()
            await asyncio.sleep(0.1)
        refused = await streams[2][0].read(65536)
        held = talk.connections.held
        answered = []
        for reader, writer in streams[:2]:
            writer.write(b"x" * 100)
            answered.append(await reader.read(65536))
            writer.close()
        streams[2][1].close()
        while talk.connections.open:
            await asyncio.sleep(0.01)
        return [refused, *answered, b"%d %d" % (held, talk.connections.held)]

    refused, *answered, held = talk.run(client)
    assert status(refused) == 503 and b"too much is being sent" in refused
    assert [bodies(heard) for heard in answered] == [[b"POST /  1000"]] * 2
    assert held == b"1800 0"


def test_a_body_in_many_small_pieces_takes_no_more_memory_than_it_is_long() -> None:
    def pieces(request: Request) -> Response:
        return Response(request.body)

    talk = Talk(pieces, msgspec.structs.replace(PATIENT, body_bytes=1 << 20, held_bytes=1 << 21))
    sent = b"ab" * 50_000
    chunks = b"".join(b"2\r\n%b\r\n" % sent[at : at + 2] for at in range(0, len(sent), 2)) + b"0\r\n\r\n"
    tracemalloc.start()
    try:
        heard = talk.say(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", chunks, pause=0.05)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bodies(heard) == [sent]
    assert (
        most < 3_000_000
    )  # a piece as an object of its own takes 35 bytes and its place in a list: 2 MB more
