"""The audit log says who asked for what, and is refused rather than forgotten."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops.errors import SetupError
from serving.audit import Audit
from serving.http import Request


def request(id_: str = "r-1") -> Request:
    asked = Request(
        "POST", "/v1/admin/reload", b"", {b"authorization": b"Bearer mlk_secret"}, b"", peer="::1"
    )
    asked.id, asked.caller = id_, "operator"
    return asked


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for path in sorted(folder.glob("audit-*.jsonl")) for line in path.open()]


def test_a_line_says_who_asked_for_what_when_and_what_came_of_it(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit.record(request(), "/v1/admin/reload", "version 3 loaded")
    (line,) = lines(tmp_path / "audit")
    at = datetime.fromisoformat(line.pop("at"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 10
    assert line == {
        "request_id": "r-1",
        "caller": "operator",
        "peer": "::1",
        "action": "/v1/admin/reload",
        "outcome": "version 3 loaded",
    }


def test_lines_are_added_never_rewritten_also_by_several_workers(tmp_path: Path) -> None:
    first, second = Audit(tmp_path), Audit(tmp_path)
    first.record(request("r-1"), "/v1/admin/reload", "loaded")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    second.record(request("r-2"), "/v1/admin/reload", "refused: the bundle's digest is wrong")
    first.record(request("r-3"), "/v1/admin/reload", "loaded")
    first.close()
    second.close()
    assert sorted(line["request_id"] for line in lines(tmp_path)) == ["r-1", "r-2", "r-3"]
    assert all((tmp_path / name).read_bytes().startswith(data) for name, data in before.items())


def test_words_of_a_caller_cannot_make_a_line_of_their_own(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.record(request(), "/v1/admin/reload", 'refused\n{"caller": "nobody"}')
    assert len(lines(tmp_path)) == 1


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written to"):
        Audit(tmp_path / "file").record(request(), "/v1/admin/reload", "loaded")
