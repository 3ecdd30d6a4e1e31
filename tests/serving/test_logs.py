"""What the service's own log looks like."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serving import logs
from serving.http import Request
from serving.logs import about, set_up


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], level = before[0], before[1]
    root.setLevel(level)


def request() -> Request:
    """One with a key and a body, which are nobody's business."""
    request = Request(
        "POST", "/v1/score", b"", {b"x-api-key": b"mlk_secret"}, b'{"card":"4000"}', peer="10.0.0.9"
    )
    request.id, request.caller = "abc-1", "checkout"
    return request


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_message_about_a_request_names_it_and_holds_neither_key_nor_body(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up("json", worker=3)
    logging.getLogger("serving").error("the %s is down", "store", extra=about(request()))
    text = capsys.readouterr().err
    line = json.loads(text)
    written = datetime.fromisoformat(line.pop("time"))
    assert abs(datetime.now(UTC) - written) < timedelta(seconds=10)
    assert line.pop("pid") > 0
    assert line == {
        "level": "ERROR",
        "logger": "serving",
        "message": "the store is down",
        "worker": 3,
        "request_id": "abc-1",
        "method": "POST",
        "path": "/v1/score",
        "caller": "checkout",
        "peer": "10.0.0.9",
    }
    assert "mlk_secret" not in text
    assert "4000" not in text


def test_whatever_is_said_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json")
    log = logging.getLogger("serving")
    for said in ('two\nlines, a "quote" and \x00', "half a pair: \ud800", "ü €"):
        log.info("%s", said)
    try:
        raise RuntimeError("unforeseen")
    except RuntimeError as error:
        log.error("failed", exc_info=error)
    *messages, failed = lines(capsys)
    assert [line["message"] for line in messages] == [
        'two\nlines, a "quote" and \x00',
        "half a pair: \ud800",
        "ü €",
    ]
    assert "RuntimeError: unforeseen" in failed["error"]
    assert "worker" not in failed


def test_text_is_for_a_person_and_names_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text", worker=0)
    logging.getLogger("serving").warning("slow", extra=about(request()))
    logging.getLogger("serving").debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING worker 0 serving: slow [abc-1]")


def test_a_path_of_any_length_is_cut() -> None:
    long = Request("GET", "/" + "x" * 10_000, b"", {}, b"")
    assert len(about(long)["path"]) == 200


def test_what_is_true_of_many_requests_is_said_once_in_a_while_with_how_often(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up("json")
    log = logging.getLogger("serving")
    for number in range(100):
        log.error("the disk is full", extra=about(request()))
        if number % 50 == 0:
            log.error("another", extra=about(request()))
        log.info("worker %d ended", 0)
    said = [line["message"] for line in lines(capsys)]
    assert said.count("the disk is full") == said.count("another") == 1
    assert said.count("worker 0 ended") == 100
    monkeypatch.setattr(logs, "AGAIN_S", 0.0)
    for _ in range(2):
        log.error("the disk is full", extra=about(request()))
    assert [line["message"] for line in lines(capsys)] == [
        "the disk is full (and 99 times since it was said last)",
        "the disk is full",
    ]


def test_what_was_unforeseen_is_said_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json")
    for number in range(3):
        error = RuntimeError(str(number))
        logging.getLogger("serving").error("the service failed", exc_info=error, extra=about(request()))
    assert [line["error"] for line in lines(capsys)] == [f"RuntimeError: {number}" for number in range(3)]
