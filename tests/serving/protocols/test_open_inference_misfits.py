"""Requests of all kinds to the Open Inference Protocol: each is answered, or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.protocols.binary import DTYPES
from serving.scoring_routes import MAX_ROWS
from tests.serving.example import FEATURES, payment
from tests.serving.protocols.asking import INFER, LENGTH, WIDTH, columns, features, framed
from tests.serving.protocols.worker import Worker

ONE = features([[1.0] * WIDTH])
SIZE = {"binary_data_size": 4 * WIDTH}
BINARY = {"name": "features", "datatype": "FP32", "shape": [1, WIDTH], "parameters": SIZE}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"", "not a request of the Open Inference Protocol"),
        (b"[" * 100_000, "not a request of the Open Inference Protocol"),
        (b"\xff", "not a request"),
        ([], "Expected `object`, got `array`"),
        ({}, "missing required field `inputs`"),
        ({"inputs": {}}, "Expected `array"),
        ({"inputs": []}, "there are no inputs; send features"),
        ({"id": 7, "inputs": [ONE]}, "Expected `str | null`, got `int` - at `$.id`"),
        ({"inputs": [ONE, ONE]}, "input 'features': came twice"),
        ({"inputs": [ONE, ONE | {"name": "x"}]}, "has all features, and comes alone"),
        ({"inputs": [ONE | {"shape": [-1, WIDTH]}]}, "Expected `int` >= 0"),
        (
            {"inputs": [features([1.0] * WIDTH, [WIDTH])]},
            f"has the shape [{WIDTH}], and must have [n, {WIDTH}]",
        ),
        ({"inputs": [ONE | {"shape": []}]}, "must have one dimension, or two"),
        ({"inputs": [ONE | {"shape": [1, 1, WIDTH]}]}, "must have one dimension, or two"),
        ({"inputs": [ONE | {"shape": [2, WIDTH]}]}, f"the data are not of the shape [2, {WIDTH}]"),
        ({"inputs": [ONE | {"shape": [1, 10**4200]}]}, "Expected `int` <= 2147483647"),
        ({"inputs": [ONE | {"shape": [2**31 - 1, 1]}]}, "2147483647 elements; send at most 1000 rows"),
        ({"inputs": [ONE | {"datatype": "BYTES", "shape": [1, 1001]}]}, "send at most 1000 rows"),
        ({"inputs": [ONE | {"name": str(n)} for n in range(1001)]}, "1001 inputs in one request"),
        ({"inputs": [features([1.0] * 4, [1, 4])]}, f"and must have [n, {WIDTH}]"),
        (
            {"inputs": [features([[1.0] * WIDTH] * (MAX_ROWS + 1))]},
            f"{1001 * WIDTH} elements; send at most 1000 rows",
        ),
        ({"inputs": [ONE | {"datatype": "INT64"}]}, "data of INT64: Expected `int | null`, got `float`"),
        ({"inputs": [features([[1] * WIDTH], None, "INT64")]}, "must be FP32 or FP64, not INT64"),
        ({"inputs": [ONE | {"datatype": "BF16"}]}, "'BF16' is not one of the datatypes"),
        ({"inputs": [features([["a"] * WIDTH])]}, "data of FP32: Expected `float | null`, got `str`"),
        ({"inputs": [features([[1e39] * WIDTH])]}, "[0].amount: is not a finite number in single precision"),
        ({"inputs": [features([[None] * WIDTH])]}, "[0].amount: is not a finite number"),
        (
            b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,1],"data":[NaN]}]}',
            "JSON is malformed",
        ),
        ({"inputs": [{k: v for k, v in ONE.items() if k != "data"}]}, "neither data nor binary_data_size"),
        ({"inputs": [BINARY]}, "not within the 0 bytes that are left behind the JSON"),
        ({"inputs": [ONE | {"name": "amount"}]}, f"input 'amount': has the shape [1, {WIDTH}], and not [1]"),
        ({"inputs": columns([payment(1, amount=-1)])}, "[0].amount: -1.0 is not between 0 and"),
        ({"inputs": columns([payment(1)])[1:]}, "[0].payment: is missing"),
        ({"inputs": columns([payment(1, extra="x")])}, "[0].extra: is not a field of an event"),
        (
            {"inputs": [ONE], "outputs": [{"name": "x"}]},
            "output 'x': there is none; there are score, decision",
        ),
        ({"inputs": [ONE], "outputs": [{"name": "score"}] * 2}, "output 'score': is asked for twice"),
        ({"inputs": [ONE], "outputs": [{"name": "decision_id"}]}, "is there for events, not for features"),
        (
            {"inputs": [ONE], "outputs": [{"name": "score", "parameters": {"classification": 2}}]},
            "the parameter classification is of an extension that is not spoken",
        ),
        (
            {"inputs": [ONE], "outputs": [{"name": "score", "parameters": {"binary_data": 1}}]},
            "binary_data must be true or false",
        ),
        ({"inputs": [ONE], "parameters": {"binary_data_output": "yes"}}, "must be true or false"),
    ],
)
def test_what_does_not_fit_is_said_and_is_400(worker: Worker, request_: Any, said: str) -> None:
    response = worker.request("POST", INFER, request_)
    body = msgspec.json.decode(response.body)
    assert (response.status, response.type, list(body)) == (400, b"application/json", ["error"])
    assert said in body["error"]


def doubled(request: Any, member: str) -> bytes:
    """The request as JSON, in which the last of these members stands once more."""
    head, named, rest = json.dumps(request).rpartition(f'"{member}": ')
    _, end = json.JSONDecoder().raw_decode(rest)
    return f"{head}{named}{rest[:end]}, {named}{rest}".encode()


@pytest.mark.parametrize(
    ("member", "request_"),
    [
        ("id", {"id": "7", "inputs": [ONE]}),
        ("inputs", {"inputs": [ONE]}),
        ("shape", {"inputs": [ONE]}),
        ("data", {"inputs": [ONE]}),
        ("data", {"inputs": columns([payment(1)])}),
        ("note", {"inputs": [ONE], "parameters": {"note": 1}}),
        (
            "binary_data",
            {"inputs": [ONE], "outputs": [{"name": "score", "parameters": {"binary_data": True}}]},
        ),
        ("model_name", {"model_name": "example", "inputs": [ONE]}),
        ("unlisted", {"unlisted": {"a": 1}, "inputs": [ONE]}),
    ],
)
def test_a_member_that_is_there_twice_is_refused(worker: Worker, member: str, request_: Any) -> None:
    assert worker.request("POST", INFER, request_).status in (200, 409)
    response = worker.request("POST", INFER, doubled(request_, member))
    assert response.status == 400
    assert msgspec.json.decode(response.body) == {"error": f"{member}: is there twice; leave one out"}


def test_a_member_that_is_written_in_two_ways_is_there_twice(worker: Worker) -> None:
    body = msgspec.json.encode({"inputs": [ONE]}).replace(b'"shape":', b'"shap\\u0065":[1,1],"shape":')
    response = worker.request("POST", INFER, body)
    assert msgspec.json.decode(response.body) == {"error": "shape: is there twice; leave one out"}


@pytest.mark.parametrize(
    "request_",
    [
        {"inputs": columns([payment(2, at="2024-03-05T10:00:00Z")]), "more": {"id": ["x", {"id": '"'}]}},
        {"id": 'the "seventh"', "inputs": [ONE], "outputs": None, "parameters": {"a": {"b": ["c", None]}}},
        {"model_name": None, "inputs": [ONE], "outputs": [{"name": "score", "parameters": None}]},
    ],
)
def test_what_is_there_once_is_taken_however_it_is_written(worker: Worker, request_: Any) -> None:
    assert worker.request("POST", INFER, request_).status == 200
    assert worker.request("POST", INFER, json.dumps(request_, indent=1).encode()).status == 200


@pytest.mark.parametrize(
    ("given", "behind", "said"),
    [
        (BINARY, bytes(4 * WIDTH + 1), "1 bytes follow that belong to no input"),
        (BINARY, bytes(4 * WIDTH - 1), "binary_data_size is not within the"),
        (BINARY | {"parameters": {"binary_data_size": -1}}, bytes(4), "binary_data_size is not within the"),
        (BINARY | {"parameters": {"binary_data_size": True}}, b"\0", "binary_data_size is not within the"),
        (BINARY | {"parameters": {"binary_data_size": 4}}, bytes(4), f"4 bytes are not {WIDTH} elements"),
        (BINARY | {"data": [1.0]}, bytes(4 * WIDTH), "has both data and binary_data_size"),
        (BINARY, b"\0\0\xc0\x7f" * WIDTH, "[0].amount: is not a finite number"),
        (BINARY, b"\0\0\x80\x7f" * WIDTH, "[0].amount: is not a finite number"),
        (BINARY | {"shape": [1000, 2**31 - 1]}, bytes(4 * WIDTH), "bytes are not"),
    ],
)
def test_bytes_that_do_not_fit_are_said_and_are_400(
    worker: Worker, given: dict[str, Any], behind: bytes, said: str
) -> None:
    status, body = worker.post(INFER, *framed({"inputs": [given]}, behind))
    assert status == 400
    assert said in body["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
DIMENSIONS = st.sampled_from([0, 1, 2, 4, WIDTH, -1, 2**31, 2**63, 10**30]) | st.integers(-3, 70)
PARAMETERS = st.none() | st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "shared_memory_region", "x"]),
    JSON | st.integers(-1, 80),
    max_size=2,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["features", *FEATURES.names, *payment(1), "x"]),
        "datatype": st.sampled_from([*DTYPES, "BYTES", "BF16"]),
        "shape": st.lists(DIMENSIONS, max_size=3) | st.just([1, WIDTH]) | st.just([1]),
    },
    optional={"data": JSON | st.lists(JSON, max_size=4), "parameters": PARAMETERS},
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=4)},
    optional={
        "id": st.text(max_size=4) | st.none(),
        "parameters": PARAMETERS,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["score", "decision_id", "x"])}), max_size=2
        ),
    },
)


def check_told(worker: Worker, body: bytes, header: str | None) -> None:
    response = worker.request("POST", INFER, body, {} if header is None else {LENGTH: header})
    assert response.status in (200, 400), response.body
    if response.status == 400:
        assert msgspec.json.decode(response.body)["error"]


@settings(deadline=None, max_examples=400)
@given(request=REQUEST | JSON, behind=st.binary(max_size=80), off=st.sampled_from([0, 0, 0, -1, 1, 7]))
def test_no_request_is_a_failure_of_the_service(
    worker: Worker, request: Any, behind: bytes, off: int
) -> None:
    head = json.dumps(request).encode()  # which writes NaN and halves of surrogate pairs too
    check_told(worker, head + behind, str(len(head) + off))
    check_told(worker, head, None)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_no_bytes_are_a_failure_of_the_service(worker: Worker, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 90))
    datatype = data.draw(st.sampled_from([*DTYPES, "BYTES"]))
    name = data.draw(st.sampled_from(["features", "payment", "at", "amount", "abroad"]))
    shape = data.draw(st.sampled_from([[1, WIDTH], [1], [1, 1], [size], [0, WIDTH], [2, WIDTH]]))
    tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    inputs = [i for i in columns([payment(1)]) if i["name"] != name] if name != "features" else []
    body, headers = framed({"inputs": [tensor, *inputs]}, data.draw(st.binary(min_size=size, max_size=size)))
    response = worker.request("POST", INFER, body, headers)
    assert response.status in (200, 400, 409), response.body


@settings(deadline=None, max_examples=200)
@given(body=st.binary(max_size=80), header=st.none() | st.text("0123456789-x", max_size=3))
def test_no_body_is_a_failure_of_the_service(worker: Worker, body: bytes, header: str | None) -> None:
    check_told(worker, body, header)
