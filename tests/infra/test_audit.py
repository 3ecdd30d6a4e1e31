"""Looking vulnerabilities up: one fails, unless it is accepted for a time; without a database, it says so."""

from __future__ import annotations

import datetime
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.supply.audit import ACCEPTED, Accepted, Found, accepted, main, overdue, refused
from infra.supply.licences import LOCKS, pins

TODAY = datetime.datetime.now(datetime.UTC).date()
DAY = datetime.timedelta(days=1)
FOUND = Found(package="torch", version="2.13.0", ids=("GHSA-1", "CVE-1"), fixed=())


def entry(id: str = "CVE-1", package: str = "torch", until: datetime.date = TODAY) -> Accepted:
    return Accepted(id=id, package=package, reason="not called", until=until)


class OSV(ThreadingHTTPServer):
    """A server of OSV's query API; torch has a vulnerability that nothing mends, numpy one that was mended."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: set[tuple[str, str]] = set()
        self.vulnerable = {"torch": [], "numpy": [{"fixed": "99.1"}]}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class Answer(BaseHTTPRequestHandler):
    server: OSV

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = query["package"]["name"]
        self.server.asked.add((name, query["version"]))
        body: dict[str, object] = {}
        if name in self.server.vulnerable:
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *self.server.vulnerable[name]]}]
            affected = [{"package": query["package"], "ranges": ranges}]
            body = {"vulns": [{"id": f"GHSA-{name}", "aliases": [f"CVE-{name}"], "affected": affected}]}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[OSV]:
    with OSV() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def written(path: Path, *entries: Accepted) -> list[str]:
    """The option that names a file with these entries."""
    blocks = (
        f'[[accepted]]\nid = "{e.id}"\npackage = "{e.package}"\nreason = "{e.reason}"\nuntil = {e.until}\n'
        for e in entries
    )
    path.write_text("".join(blocks))
    return ["--accepted", str(path)]


@pytest.mark.system
def test_every_locked_package_is_looked_up_and_a_vulnerability_fails_until_it_is_accepted(
    database: OSV, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "accepted.toml"
    assert main(["--database", database.url, *written(file, entry("CVE-torch"))]) == 1
    said = capsys.readouterr().out
    assert "audit: numpy" in said and "CVE-numpy, GHSA-numpy, mended in 99.1" in said and "torch" not in said
    assert {pin for lock in LOCKS for pin in pins(lock)} <= database.asked
    assert set(pins("torch")) <= database.asked

    both = written(file, entry("CVE-torch"), entry("GHSA-numpy", "numpy"))
    assert main(["--database", database.url, *both]) == 0
    assert "2 vulnerabilities, 2 accepted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer", [None, b"HTTP/1.0 403 Forbidden\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>"]
)
def test_without_a_database_that_answers_it_says_that_it_was_not_run(
    answer: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answer is None:
            listener.close()
        else:
            threading.Thread(target=_once, args=(listener, answer), daemon=True).start()
        assert main(["--database", f"http://127.0.0.1:{port}/v1/query"]) == 3
    assert "audit: NOT RUN: " in capsys.readouterr().out


def _once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        while b'"version"' not in connection.recv(65536):
            pass
        connection.sendall(answer)


def test_an_acceptance_whose_day_is_past_fails_whether_or_not_there_is_a_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overdue([entry(), entry("late", until=TODAY - DAY)], TODAY) == [entry("late", until=TODAY - DAY)]
    late = written(tmp_path / "accepted.toml", entry("late", until=TODAY - DAY))
    assert main(["--database", "http://127.0.0.1:1", *late]) == 1
    assert f"late of torch was accepted until {TODAY - DAY}" in capsys.readouterr().out


def test_it_is_accepted_for_its_package_by_any_of_its_names() -> None:
    for name in FOUND.ids:
        assert refused([FOUND], [entry(name)]) == []
    assert refused([FOUND], [entry(package="Torch")]) == []
    assert refused([FOUND], [entry("CVE-2"), entry(package="numpy")]) == [FOUND]


@pytest.mark.parametrize(
    "text", ["[[accepted]]\nid = 'CVE-1'", "accepted = 1", "x = 1", "[[accepted", '[[accepted]]\nreason = ""']
)
def test_an_entry_without_reason_or_day_is_an_error_of_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "accepted.toml"
    path.write_text(text)
    assert main(["--accepted", str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_what_is_accepted_is_of_packages_that_are_locked() -> None:
    assert {one.package for one in accepted(ACCEPTED)} <= {name for lock in LOCKS for name, _ in pins(lock)}
