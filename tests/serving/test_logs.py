"""What the service's own log looks like."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
