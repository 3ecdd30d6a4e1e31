"""A log or a store that cannot be written to: told where one looks, once in the log, and once more when it is over."""

from __future__ import annotations

import logging
import shutil
import time
from itertools import count
from pathlib import Path

import pytest

from mlops.errors import SetupError
from serving import troubles
from serving.troubles import Troubles
from tests.serving.example import World, payment


def test_a_log_that_cannot_be_written_is_told_until_it_can_be_again(world: World) -> None:
    with world.server("--rotate-mb", "0.001", "--poll-seconds", "3600") as server:
        assert server.post("/v1/score", payment(1)).status == 200
        assert server.get("/readyz").body["log"] is None
        shutil.rmtree(world.decisions)
        world.decisions.write_text("where the folder was")
        deadline = time.monotonic() + 20
        events = map(payment, count(2))
        while server.post("/v1/score", next(events)).status == 200:  # the file that was open is soon full
            assert time.monotonic() < deadline
        numbers = range(10**6, 10**6 + 50)
        assert {server.post("/v1/score", payment(number)).status for number in numbers} == {503}
        ready = server.get("/readyz")
        assert ready.status == 503 and ready.body["log"].startswith(
            f"{world.decisions}: cannot be written to"
        )
        assert server.get("/livez").status == 200
        world.decisions.unlink()
        server.wait_for("log", None)
        assert server.get("/readyz").status == 200
        assert {server.post("/v1/score", payment(number)).status for number in numbers} == {200}
    log = (world.home / "serving.log").read_text()
    assert log.count("events are refused, as the log fails") == 1
    assert log.count("the log can be written to again") == 1
    assert log.count("cannot be written to") <= 4, log  # one of the requests', too, and not one of each


def test_a_trouble_is_said_once_and_is_over_when_the_folder_takes_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(troubles, "QUIET_S", 0.0)
    log, store = tmp_path / "log", tmp_path / "store"
    store.mkdir()
    log.write_text("where the folder will be")
    seen = Troubles(log=log, store=store)
    with caplog.at_level(logging.INFO):
        assert not seen.is_due()
        for folder in (log, log, store, tmp_path / "another"):
            seen.failed(SetupError("cannot be written to: no space", where=folder))
        assert seen.why("log") == f"{log}: cannot be written to: no space" and seen.why("store")
        assert seen.is_due()
        seen.look()
        assert seen.why("store") is None and seen.why("log")
        log.unlink()
        seen.look()
        assert seen.why("log") is None and not seen.is_due()
    levels = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert levels == [
        ("ERROR", "events are refused, as the log fails"),
        ("ERROR", "events are refused, as the store fails"),
        ("INFO", "the store can be written to again"),
        ("INFO", "the log can be written to again"),
    ]


def test_that_the_store_is_gone_and_is_back_is_said_once_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Troubles(log=tmp_path, store=None)
    with caplog.at_level(logging.INFO):
        for why_not in (None, "refused", "timed out", None, None):
            seen.asked(why_not)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the store cannot be reached: refused", "the store is reached again"]
