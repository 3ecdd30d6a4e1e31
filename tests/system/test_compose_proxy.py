"""The proxy of infra/compose.yaml in Debian's nginx: what it lets through, and says where no server answers."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.system.compose_stack import (
    free_port,
    nginx_in,
    program,
    status_of,
    until,
)

pytestmark = pytest.mark.system


def test_nginx_finds_the_proxy_s_configuration_sound() -> None:
    with nginx_in([1, 2]) as (command, _, _, popen):
        ran = subprocess.run(
            [*command, "-t"], capture_output=True, text=True, timeout=30, check=False, **popen
        )
        assert ran.returncode == 0 and "test is successful" in ran.stderr, ran.stderr


def test_one_client_s_requests_do_not_take_the_place_of_another_s(tmp_path: Path) -> None:
    with ExitStack() as stack:
        command, port, folder, popen = stack.enter_context(nginx_in([free_port(), free_port()]))
        conf = folder / "nginx.conf"
        # Here the peer is loopback; behind the published port it is an address of the engine's.
        conf.write_text(conf.read_text().replace("set_real_ip_from 10.0.0.0/8", "set_real_ip_from 127.0.0.1"))
        stack.enter_context(program(command, tmp_path / "log", number=signal.SIGQUIT, **popen))
        until(lambda: status_of(f"http://127.0.0.1:{port}/healthz") == 200, "the proxy answers")
        # What a client claims stands before what the hop in front saw, which is the last.
        greedy = {"X-Forwarded-For": "198.51.100.9, 203.0.113.1"}
        head = "POST /v1/score HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n"
        for _ in range(256):
            waiting = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            waiting.sendall(head.encode())
        url = f"http://127.0.0.1:{port}/v1/model"
        until(lambda: status_of(url, greedy) == 429, "the limit is reached", 8)
        assert status_of(url, {"X-Forwarded-For": "203.0.113.1, 203.0.113.2"}) == 503  # there are no servers
        assert status_of(url) == 503
        until(lambda: '"peer":"203.0.113.2"' in (folder / "access").read_text(), "the log names clients")


def test_the_proxy_answers_for_absent_servers_in_the_servers_own_words(tmp_path: Path) -> None:
    with ExitStack() as stack:
        command, port, _, popen = stack.enter_context(nginx_in([free_port(), free_port()]))
        stack.enter_context(program(command, tmp_path / "log", number=signal.SIGQUIT, **popen))
        until(lambda: status_of(f"http://127.0.0.1:{port}/healthz") == 200, "the proxy answers")
        for _ in range(20):  # they count as failed before long, and are not asked any more for a while
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/score", json={})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["detail"] == "no server answers"


@contextmanager
def servers(folder: Path, statuses: Mapping[str, int]) -> Iterator[tuple[str, list[str]]]:
    """The proxy before two servers that answer with these statuses, by path, and 200 elsewhere.

    Yields:
        The proxy's URL, and the paths that the two were asked for.
    """
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            self.send_response(statuses.get(self.path, 200))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        ports = []
        for _ in range(2):
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
            server.daemon_threads = True  # kept connections outlive the test
            server.block_on_close = False
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            ports.append(server.server_port)
        command, port, _, popen = stack.enter_context(nginx_in(ports))
        stack.enter_context(program(command, folder / "log", number=signal.SIGQUIT, **popen))
        until(lambda: status_of(f"http://127.0.0.1:{port}/healthz") == 200, "the proxy answers")
        yield f"http://127.0.0.1:{port}", asked


def test_a_server_that_has_enough_to_do_is_not_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    with servers(tmp_path, {"/v1/score": 503}) as (url, asked):
        for _ in range(20):  # of one customer, who has too many under way
            assert httpx.post(f"{url}/v1/score", json={}).status_code == 503
        assert asked == ["/v1/score"] * 20, "the other server was asked on top"
        for _ in range(20):
            assert httpx.get(f"{url}/v1/model").status_code == 200


def test_the_proxy_lets_through_what_senders_need_and_nothing_else(tmp_path: Path) -> None:
    needed = ["/v1/score", "/v1/predict", "/v1/labels", "/v1/decisions/1", "/v1/model", "/openapi.json"]
    needed += ["/v2/models/example", "/v2/models/example/infer", "/v2/models/example/versions/1/infer"]
    inside = ["/", "/docs", "/metrics", "/livez", "/readyz", "/v1/admin/reload", "/v1/scores", "/v2"]
    inside += ["/v2/health/live", "/v2/health/ready", "/v2/modelsandmore", "/v2/repository/index"]
    inside += ["/ping", "/health", "/version", "/invocations", "/predict", "/score"]
    with servers(tmp_path, {}) as (url, asked):
        assert [path for path in needed + inside if httpx.get(url + path).status_code != 404] == needed
        assert asked == needed
        assert httpx.post(f"{url}/v1/score", content=bytes(2 * 2**20 + 1)).status_code == 413
        assert httpx.post(f"{url}/v1/score", content=bytes(2 * 2**20)).status_code == 200
