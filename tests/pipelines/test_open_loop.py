"""The open loop counts from when a request was due, so that it sees a stall as all callers would."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlops.errors import SetupError
from pipelines.open_loop import offer

pytestmark = pytest.mark.linux  # it waits with epoll

# Answers after DELAY seconds. From the first request on it does so for HALF a second, then does nothing for STALL.
SERVER = """
import asyncio, sys, time
delay, stall, answer = float(sys.argv[1]), float(sys.argv[2]), eval(sys.argv[3])
class Server(asyncio.Protocol):
    asked = 0
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        Server.asked += 1
        if Server.asked == 1 and stall:
            loop.call_later(0.5, time.sleep, stall)
        loop.call_later(delay, self.answer)
    def answer(self):
        for part in answer[:-1]:
            self.transport.write(part)
        loop.call_later(0, self.transport.write, answer[-1]) if answer[-1] else self.transport.close()
async def main():
    global loop
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def server(
    *, delay: float = 0.0, stall: float = 0.0, answer: tuple[bytes, ...] = (OK,)
) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-c", SERVER, str(delay), str(stall), repr(answer)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            process.kill()


def test_a_constant_latency_is_measured_as_it_is() -> None:
    with server(delay=0.02) as address:
        offered = offer(address, [REQUEST] * 200, 200, connections=50)
    assert offered.statuses == {"200": 200}
    assert 20 <= offered.p50_ms <= 100  # 21, unless the machine is busy
    assert offered.p99_ms >= offered.p50_ms and offered.max_ms >= offered.p99_ms
    assert 0.5 < offered.seconds < 2
    assert 20 < offered.goodput_rps <= 400


def test_a_stall_is_felt_by_all_requests_that_were_due_meanwhile() -> None:
    with server(stall=0.5) as address:
        # One connection, as where coordinated omission would hide the stall in a single slow answer.
        offered = offer(address, [REQUEST] * 300, 200, connections=1)
    # 100 of 300 were due while it did nothing: half of those had to wait for more than 250 ms.
    assert offered.statuses == {"200": 300}
    assert offered.p99_ms > 350
    assert offered.sent_late_p99_ms > 300


def test_requests_that_find_no_connection_wait_and_are_counted_from_their_time() -> None:
    with server(delay=0.02) as address:
        offered = offer(address, [REQUEST] * 100, 100, connections=1)
    # A connection answers 50 a second at most, so a second's requests take two.
    assert offered.goodput_rps < 55
    assert offered.max_ms > 500


def test_an_answer_in_parts_is_one_answer() -> None:
    with server(
        answer=(b"HTTP/1.1 503 Service Unavailable\r\ncontent-le", b"ngth: 4\r\n\r\nfu", b"ll")
    ) as address:
        offered = offer(address, [REQUEST] * 20, 500)
    assert offered.statuses == {"503": 20}
    assert offered.goodput_rps == 0 and offered.p99_ms != offered.p99_ms


def test_a_closed_connection_is_no_answer() -> None:
    with server(answer=(b"HTTP/1.1 200 OK\r\n", b"")) as address:
        offered = offer(address, [REQUEST] * 20, 500, connections=4)
    assert offered.statuses == {"dropped": 20}


def test_what_cannot_be_measured_is_said() -> None:
    with (
        server(answer=(b"HTTP/1.1 200 OK\r\n\r\n{}",)) as address,
        pytest.raises(SetupError, match="Content-Length"),
    ):
        offer(address, [REQUEST], 500)
    with pytest.raises(SetupError, match="cannot be reached"):
        offer(address, [REQUEST], 500)
