"""The door of a worker: which keys pass, for what, how often; the file may change, or break, while it stands open."""

from __future__ import annotations

import json
import logging
import os
import time
import timeit
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops.api_keys import create_key, revoke_key
from mlops.errors import ConfigError
from serving.access import Access
from serving.audit import Audit
from serving.http import Problem, Request, Scope
from serving.shared import Shared


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api-keys.json"


def door(
    path: Path | None, *, block: Shared | None = None, worker: int = 0, audit: Audit | None = None
) -> Access:
    block = block or Shared.create(1)
    return Access(path, Shared(block.descriptor, block.workers, worker), audit)


def request(**headers: str) -> Request:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request("POST", "/v1/score", b"", named, b"", peer="10.0.0.9")


def bearer(key: str) -> Request:
    return request(authorization=f"Bearer {key}")


def refused(access: Access, asked: Request, scope: Scope = "score") -> Problem:
    with pytest.raises(Problem) as problem:
        access.check(asked, scope)
    return problem.value


def test_a_key_passes_in_either_header_and_gives_the_request_its_name(path: Path) -> None:
    key = create_key(path, "acquirer", ["score"])
    access = door(path)
    for asked in (
        bearer(key),
        request(authorization=f"bearer  {key} "),
        request(x_api_key=key),
        request(x_api_key=key, authorization="Basic dXNlcjpwYXNz"),
    ):
        access.check(asked, "score")
        assert asked.caller == "acquirer"


def test_without_a_key_that_is_known_nobody_passes(path: Path) -> None:
    key = create_key(path, "acquirer", ["score"])
    access = door(path)
    for asked in (
        request(),
        request(authorization=""),
        request(authorization="Bearer"),
        request(authorization=f"Basic {key}"),
        request(authorization=key),
    ):
        problem = refused(access, asked)
        assert problem.status == 401 and asked.caller == ""
        assert problem.headers == {b"www-authenticate": b'Bearer realm="scoring"'}
    for asked in (
        bearer(key[:-1]),
        bearer(key + "A"),
        bearer(key.upper()),
        bearer(""),
        bearer("ключ"),
        request(authorization="Bearer wrong", x_api_key=key),
    ):
        problem = refused(access, asked)
        assert problem.status == 401 and asked.caller == ""
        assert problem.headers == {b"www-authenticate": b'Bearer realm="scoring", error="invalid_token"'}
        assert key not in problem.detail


def test_a_large_body_may_come_with_any_key_and_takes_nothing_from_its_rate(path: Path) -> None:
    key = create_key(path, "acquirer", ["labels"], rate_per_second=0.01, burst=1)
    access = door(path)
    for _ in range(3):
        access.admit(bearer(key).headers)
    access.check(bearer(key), "labels")
    for asked in (request(), bearer(key + "x")):
        with pytest.raises(Problem) as problem:
            access.admit(asked.headers)
        assert problem.value.status == 401
    door(None).admit(request().headers)


def test_a_key_does_what_its_scopes_say_and_nothing_else(path: Path) -> None:
    scorer = create_key(path, "scorer", ["score"])
    both = create_key(path, "both", ["labels", "admin"])
    access = door(path)
    access.check(bearer(scorer), "score")
    access.check(bearer(both), "labels")
    access.check(bearer(both), "admin")
    for key, scope in ((scorer, "labels"), (scorer, "admin"), (both, "score")):
        problem = refused(access, bearer(key), scope)  # type: ignore[arg-type]
        assert problem.status == 403 and scope in problem.detail
        assert problem.headers == {
            b"www-authenticate": b'Bearer error="insufficient_scope", scope="%s"' % scope.encode()
        }


def test_a_key_is_refused_from_the_moment_it_expires(path: Path) -> None:
    key = create_key(path, "brief", ["score"], expires_at=datetime.now(UTC) + timedelta(seconds=0.4))
    access = door(path)
    access.check(bearer(key), "score")
    time.sleep(0.45)
    problem = refused(access, bearer(key))
    assert problem.status == 401 and "has expired" in problem.detail


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_not_held_up(path: Path) -> None:
    hasty = create_key(path, "hasty", ["score"], rate_per_second=0.25, burst=3)
    calm = create_key(path, "calm", ["score"], rate_per_second=0.25, burst=3)
    block = Shared.create(2)
    first, second = door(path, block=block), door(path, block=block, worker=1)
    for access in (first, second, first):
        access.check(bearer(hasty), "score")
    for access in (first, second):
        problem = refused(access, bearer(hasty))
        assert problem.status == 429 and problem.headers == {b"retry-after": b"4"}
        access.check(bearer(calm), "score")


def test_a_limit_outlives_a_change_of_the_file(path: Path) -> None:
    hasty = create_key(path, "hasty", ["score"], rate_per_second=0.01, burst=1)
    access = door(path)
    access.check(bearer(hasty), "score")
    for number in range(5):
        create_key(path, f"other-{number}", ["score"])
    access.refresh()
    assert refused(access, bearer(hasty)).status == 429


def test_keys_come_and_go_without_a_restart(path: Path) -> None:
    old = create_key(path, "one", ["score"])
    access = door(path)
    new = create_key(path, "two", ["score"])
    assert refused(access, bearer(new)).status == 401
    access.refresh()
    access.check(bearer(new), "score")
    access.check(bearer(old), "score")
    revoke_key(path, "one")
    access.refresh()
    access.check(bearer(new), "score")
    assert refused(access, bearer(old)).status == 401


def test_a_change_that_neither_size_nor_time_of_the_file_shows_is_followed(path: Path) -> None:
    one = create_key(path, "one", ["score"])
    access = door(path)
    status = path.stat()
    path.write_text(path.read_text().replace('"score"', '"admin"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    access.refresh()
    assert refused(access, bearer(one)).status == 403


def test_a_file_that_nobody_answers_for_keeps_nobody_waiting_and_is_told(path: Path) -> None:
    one = create_key(path, "one", ["score"])
    whole = path.read_bytes()
    access = door(path)
    path.unlink()
    os.mkfifo(path)
    began = time.monotonic()
    for _ in range(11):
        access.follow()
    assert time.monotonic() - began < 5
    assert access.fault == f"{path}: cannot be read: no answer for 5 s"
    access.check(bearer(one), "score")
    with path.open("wb") as writer:
        writer.write(whole)
    deadline = time.monotonic() + 30
    while access.fault:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("broken", [b"", b'{"keys": [{"name"', b'{"keys": 1}', None])
def test_a_file_that_breaks_leaves_the_keys_that_are_there(
    path: Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = create_key(path, "one", ["score"])
    whole = path.read_bytes()
    access = door(path)
    path.unlink() if broken is None else path.write_bytes(broken)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            access.refresh()
            access.check(bearer(key), "score")
        assert str(path) in access.fault
        assert len(caplog.records) == 1 and "API keys stay as they were" in caplog.text
        path.write_bytes(whole)
        for _ in range(2):
            access.refresh()
    assert access.fault == ""
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "the file of API keys is followed again"
    ]


def test_a_server_does_not_start_with_a_file_that_is_none(path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file of API keys"):
        door(path)
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(ConfigError, match="not a file of API keys"):
        door(path)


def test_where_no_keys_are_asked_for_everybody_is_local() -> None:
    access = door(None)
    access.refresh()
    for scope in ("score", "labels", "admin"):
        asked = request()
        access.check(asked, scope)  # type: ignore[arg-type]
        assert asked.caller == "local"


def test_no_log_line_holds_a_key_or_its_hash(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = create_key(path, "one", ["score"])
    digest = json.loads(path.read_text())["keys"][0]["sha256"]
    with caplog.at_level(logging.DEBUG):
        access = door(path)
        access.check(bearer(key), "score")
        refused(access, bearer(key), "admin")
        refused(access, bearer(key + "x"))
        path.write_text(json.dumps({"keys": [{key: digest}]}))
        access.refresh()
    assert "one" in caplog.text and access.fault
    assert key not in caplog.text and digest not in caplog.text


def test_a_call_of_administration_with_a_key_that_may_not_is_in_the_audit_log(
    path: Path, tmp_path: Path
) -> None:
    key = create_key(path, "scorer", ["score"])
    audit = Audit(tmp_path / "audit")
    access = door(path, audit=audit)
    refused(access, bearer(key), "labels")
    asked = bearer(key)
    asked.id = "r-1"
    refused(access, asked, "admin")
    audit.close()
    (file,) = (tmp_path / "audit").glob("audit-*.jsonl")
    (line,) = [json.loads(text) for text in file.read_text().splitlines()]
    assert (line["request_id"], line["caller"], line["peer"]) == ("r-1", "scorer", "10.0.0.9")
    assert line["outcome"].startswith("refused") and key not in file.read_text()


def test_the_door_costs_two_microseconds_at_most(path: Path) -> None:
    key = create_key(path, "limited", ["score"], rate_per_second=1e6, burst=10**6)
    access, asked = door(path, block=Shared.create(4)), bearer(key)
    seconds = timeit.repeat(
        lambda: access.check(asked, "score"), timer=time.process_time, number=5_000, repeat=15
    )
    assert min(seconds) / 5_000 < 2e-6
