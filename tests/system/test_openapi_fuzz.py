"""Requests that schemathesis makes from the OpenAPI document, fitting ones and others, against a running server.

None may be answered by a 5xx, by a status or a body that the document does not describe, or not at all; and what does
not fit the document must be refused. That what fits it is accepted is not asked: a JSON Schema cannot say that an id
must be new, nor that `1.0` is no whole number here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.api_keys import create_key
from mlops.bundle import Schema
from tests.serving.example import NUMBERS, TEXTS, Server, World

SECONDS_AN_ANSWER = 20
DESCRIBED = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
CHECKS = ("not_a_server_error", "negative_data_rejection", *DESCRIBED)


def fuzz(
    server: Server,
    key: str,
    folder: Path,
    *,
    examples: int,
    checks: Sequence[str] = CHECKS,
    more: Sequence[str] = (),
) -> int:
    """Make requests by rule, and at most `examples` random ones to each operation; return how many they were."""
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}", "--phases", "examples,coverage,fuzzing"),
        *(
            "--checks",
            ",".join(checks),
            "--max-examples",
            str(examples),
            "--continue-on-failure",
            "--no-shrink",
        ),
        *(
            "--request-timeout",
            str(SECONDS_AN_ANSWER),
            "--report-json-path",
            str(report),
            "--no-color",
            *more,
        ),
    ]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    reported: dict[str, Any] = msgspec.json.decode(report.read_bytes())
    assert reported["complete"] and not reported["errors"]
    return int(reported["test_cases"]["generated"])


def _served(folder: Path, *, schema: Schema = NUMBERS, examples: int, more: Sequence[str]) -> int:
    """Fuzz a server that has a model and asks for a key."""
    world = World(folder)
    world.deploy("1", world.bundle(schema=schema))
    keys = folder / "api-keys.json"
    key = create_key(keys, "fuzzer", ["score", "labels", "admin"])
    with world.server("--keys", str(keys)) as server:
        made = fuzz(server, key, folder, examples=examples, more=more)
        assert server.get("/readyz").status == 200
    assert "Traceback" not in (folder / "serving.log").read_text()
    return made


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("schema", [NUMBERS, TEXTS], ids=["whole-number ids", "text ids"])
def test_requests_of_all_kinds_are_answered_as_described(tmp_path: Path, schema: Schema) -> None:
    assert _served(tmp_path, schema=schema, examples=75, more=("--seed", "1")) >= 1_000


@pytest.mark.system
@pytest.mark.timeout(300)
def test_without_a_model_everything_is_still_answered_as_described(tmp_path: Path) -> None:
    keys = tmp_path / "api-keys.json"
    key = create_key(keys, "fuzzer", ["score", "labels", "admin"])
    with World(tmp_path).server("--keys", str(keys)) as server:
        fuzz(server, key, tmp_path, examples=10, checks=DESCRIBED, more=("--seed", "1"))


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_ten_thousand_requests_are_answered_as_described(tmp_path: Path) -> None:
    # Each time others; every request for a reload is the same.
    assert _served(tmp_path, examples=2_700, more=("--exclude-operation-id", "reload")) >= 10_000
