"""Replay: what is sent, in which order, and that labels go ahead of the events that may see them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.contract import load_use_case
from mlops.errors import InputError, SetupError
from pipelines.cli import main
from pipelines.ports import free_port
from pipelines.replay import MAX_BATCH, Recording, replay
from tests.command import exit_code

USE_CASE = load_use_case("usecases.fraud")
START = datetime(2018, 4, 1, 6)


class _Server(ThreadingHTTPServer):
    """Answers as the scoring server does, and keeps what it was sent."""

    received: list[tuple[str, Any]]
    keys: set[str | None]
    status = 200
    body = b"{}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, json.loads(body)))
        self.server.keys.add(self.headers["Authorization"])
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    running = _Server(("127.0.0.1", 0), _Handler)
    running.received, running.keys = [], set()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Ten days with 30 events each, half of a minute apart."""
    times = [START + timedelta(days=day, seconds=30 * i) for day in range(10) for i in range(30)]
    table = pa.table(
        {
            "TRANSACTION_ID": list(range(len(times))),
            "TX_DATETIME": pa.array(times, pa.timestamp("ns")),
            "CUSTOMER_ID": [1] * len(times),
            "TERMINAL_ID": [2] * len(times),
            "TX_AMOUNT": [9.99] * len(times),
            "TX_FRAUD": [i % 2 for i in range(len(times))],
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    return Recording([tmp_path], USE_CASE.events, USE_CASE.label)


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_singles_go_first_then_lists_of_at_most_a_hundred(server: _Server, recording: Recording) -> None:
    result = replay(
        recording, _url(server), first_day=date(2018, 4, 1), last_day=date(2018, 4, 10), singles=20
    )
    scored = [body for path, body in server.received if path == "/v1/score"]
    assert all(isinstance(body, dict) for body in scored[:20])
    assert [len(body) for body in scored[20:]] == [100, 100, 80]
    assert max(len(body) for body in scored[20:]) <= MAX_BATCH
    assert (result.events, result.failed) == (300, 0)
    assert result.requests == len(server.received)


def test_the_label_is_not_sent_with_the_event(server: _Server, recording: Recording) -> None:
    replay(recording, _url(server), first_day=date(2018, 4, 1), last_day=date(2018, 4, 1), singles=1)
    _, event = server.received[0]
    assert event == {
        "transaction_id": 0,
        "event_time": "2018-04-01T06:00:00+00:00",
        "customer_id": 1,
        "terminal_id": 2,
        "amount": 9.99,
        "region": None,
    }


def test_a_label_goes_ahead_of_each_event_that_may_see_it_and_never_before_it_is_due(
    server: _Server, recording: Recording
) -> None:
    first = date(2018, 4, 1)
    replay(recording, _url(server), first_day=first, last_day=date(2018, 4, 10), singles=300)
    known: set[int] = set()
    now = datetime(2018, 4, 1, tzinfo=UTC)
    delay = timedelta(days=USE_CASE.label.delay_days)
    for path, body in server.received:
        if path == "/v1/labels":
            known |= {label["event_id"] for label in body}
            continue
        now = datetime.fromisoformat(body["event_time"])
        due = {
            i
            for i, time in enumerate(recording.table["event_time"].to_pylist())
            if time.replace(tzinfo=UTC) + delay <= now
        }
        assert known == due


def test_only_labels_are_sent_where_events_are_not_wanted(server: _Server, recording: Recording) -> None:
    result = replay(
        recording, _url(server), first_day=date(2018, 4, 8), last_day=date(2018, 4, 9), events=False
    )
    assert {path for path, _ in server.received} == {"/v1/labels"}
    assert (result.events, result.labels) == (0, 60)


def test_a_refused_request_is_counted_and_quoted(server: _Server, recording: Recording) -> None:
    server.status = 503
    result = replay(recording, _url(server), first_day=date(2018, 4, 1), last_day=date(2018, 4, 1))
    assert (result.requests, result.failed) == (1, 1)
    assert "503" in result.errors[0]


@pytest.mark.parametrize("named", ["--key-file", "MLOPS_API_KEY_FILE", "MLOPS_API_KEY"])
def test_the_command_sends_the_key_that_a_file_or_a_variable_holds(
    server: _Server, recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    key, file = "mlk_" + "a" * 43, tmp_path / "key"
    file.write_text(f"{key}\n")
    if named != "--key-file":
        monkeypatch.setenv(named, key if named == "MLOPS_API_KEY" else str(file))
    assert _replay(server, tmp_path, *(["--key-file", str(file)] if named == "--key-file" else [])) == 0
    assert server.keys == {f"Bearer {key}"}
    assert {path for path, _ in server.received} == {"/v1/score"}


def test_without_a_key_none_is_sent(server: _Server, recording: Recording, tmp_path: Path) -> None:
    assert _replay(server, tmp_path) == 0
    assert server.keys == {None}


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_the_key_is_asked_once(
    server: _Server, recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    server.status, server.body = status, b'{"title":"Not so","detail":"the key may not score"}'
    assert _replay(server, tmp_path) == 2
    assert len(server.received) == 1
    said = capsys.readouterr().err
    assert "does not let this in: the key may not score; " in said and "say --key-file FILE" in said


@pytest.mark.parametrize("content", [None, b"", b"two words", b"mlk_\xe9"])
def test_a_file_without_a_key_is_refused(
    server: _Server,
    recording: Recording,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    assert _replay(server, tmp_path, "--key-file", str(file)) == 2
    said = capsys.readouterr().err
    assert f"{file}: " in said and "Errno" not in said and "codec" not in said
    assert not server.received


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (("2018-04-03", "2018-04-02"), "--from: 2018-04-03 is after --to, 2018-04-02"),
        (
            ("2019-04-01", "2019-04-02"),
            "no events between 2019-04-01 and 2019-04-02; the files hold 2018-04-01 to 2018-04-10",
        ),
    ],
)
def test_days_of_which_nothing_can_be_sent_are_refused(
    server: _Server,
    recording: Recording,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    days: tuple[str, str],
    said: str,
) -> None:
    assert _replay(server, tmp_path, days=days) == 2
    assert said in capsys.readouterr().err
    assert not server.received


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "localhost", "http://", "ftp://host", "http://host:port", ""]
)
def test_what_is_no_address_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "--events", str(tmp_path / "none"), "--url", url])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith(f"mlops: --url: {url!r} is no address of a server")


@pytest.mark.parametrize("key", ["", "mlk_" + "a" * 43])
def test_who_has_a_key_is_not_told_to_serve_without(recording: Recording, key: str) -> None:
    day = date(2018, 4, 1)
    with pytest.raises(SetupError) as refused:
        replay(recording, f"http://127.0.0.1:{free_port()}", first_day=day, last_day=day, key=key)
    assert ("--no-keys" in refused.value.todo) == (not key)


def _replay(
    server: _Server, folder: Path, *more: str, days: tuple[str, str] = ("2018-04-01", "2018-04-01")
) -> int:
    """The exit code of `mlops replay` of some days, one by default."""
    named = ["--from", days[0], "--to", days[1]]
    return exit_code("replay", "--events", folder / "events.parquet", "--url", _url(server), *named, *more)


def test_events_go_one_by_one_until_what_happens_meanwhile_has_happened(
    server: _Server, recording: Recording
) -> None:
    calls = iter([False] * 5 + [True])
    replay(
        recording,
        _url(server),
        first_day=date(2018, 4, 1),
        last_day=date(2018, 4, 1),
        during=lambda: next(calls),
    )
    assert [len(body) if isinstance(body, list) else 1 for _, body in server.received] == [1] * 5 + [25]


def test_files_without_a_known_layout_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column"):
        Recording([tmp_path], USE_CASE.events, USE_CASE.label)


def test_a_recording_without_labels_has_none_to_send(server: _Server, tmp_path: Path) -> None:
    table = pa.table(
        {
            "TRANSACTION_ID": [1, 2],
            "TX_DATETIME": pa.array([START, START + timedelta(days=8)], pa.timestamp("us")),
            "CUSTOMER_ID": [1, 1],
            "TERMINAL_ID": [2, 2],
            "TX_AMOUNT": [9.99, 10.0],
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    recording = Recording([tmp_path], USE_CASE.events, USE_CASE.label)
    result = replay(recording, _url(server), first_day=date(2018, 4, 1), last_day=date(2018, 4, 20))
    assert (result.events, result.labels) == (2, 0)
    assert {path for path, _ in server.received} == {"/v1/score"}
