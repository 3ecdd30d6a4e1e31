"""Whatever comes to the platforms' routes is answered, or refused with a reason that says what; nothing fails."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.example import FEATURES, payment
from tests.serving.protocols.worker import Worker

NAMES = (*payment(1), *FEATURES.names, "", "columns", "data")
CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.just([1])
)
ROW = st.one_of(
    st.lists(CELLS, max_size=17),
    st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=8),
    st.builds(lambda changes: payment(1) | changes, st.dictionaries(st.sampled_from(NAMES[:8]), CELLS)),
)
ROWS = st.one_of(CELLS, st.lists(st.one_of(ROW, CELLS), max_size=3))
TABLE = st.one_of(
    ROWS,
    st.fixed_dictionaries({"columns": st.lists(st.sampled_from(NAMES), max_size=4), "data": ROWS}),
    st.dictionaries(st.sampled_from(NAMES), st.lists(CELLS, max_size=3), max_size=4),
)
MEMBERS = ("dataframe_split", "dataframe_records", "instances", "inputs", "input_data", "data", "params", "x")
BODY = st.one_of(TABLE, st.dictionaries(st.sampled_from(MEMBERS), TABLE, min_size=1, max_size=2))
LINES = st.lists(
    st.lists(st.one_of(st.sampled_from(NAMES), CELLS.map(str)), max_size=17).map(",".join), max_size=4
).map("\n".join)
TYPES = st.one_of(
    st.sampled_from(["", "text/csv", "application/json", "*/*", "text/csv;q=0.5", "a;b=c", ";", ",", "q=0"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
)


def check(worker: Worker, path: str, body: bytes, headers: dict[str, str]) -> None:
    response = worker.request("POST", path, body, headers)
    assert response.status in (200, 406, 409, 415, 422), (response.status, response.body, body)
    if response.status != 200:
        assert response.type == b"application/problem+json"
        assert msgspec.json.decode(response.body)["detail"]


@settings(max_examples=400, deadline=None)
@given(body=BODY, path=st.sampled_from(["/invocations", "/predict", "/score"]))
def test_any_json_is_answered_or_refused(worker: Worker, body: Any, path: str) -> None:
    check(worker, path, json.dumps(body).encode(), {})


@settings(max_examples=400, deadline=None)
@given(
    lines=st.one_of(LINES.map(str.encode), st.binary(max_size=40)), accept=st.sampled_from(["", "text/csv"])
)
def test_any_csv_is_answered_or_refused(worker: Worker, lines: bytes, accept: str) -> None:
    check(worker, "/invocations", lines, {"content-type": "text/csv", "accept": accept})


@settings(max_examples=300, deadline=None)
@given(type_=TYPES, accept=TYPES)
def test_any_header_is_answered_or_refused(worker: Worker, type_: str, accept: str) -> None:
    check(worker, "/invocations", b"1,2", {"content-type": type_, "accept": accept})
