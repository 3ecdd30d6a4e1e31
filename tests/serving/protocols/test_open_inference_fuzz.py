"""Requests of all kinds to the Open Inference Protocol: each is answered, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.protocols.binary import DTYPES
from tests.serving.example import FEATURES, World, payment
from tests.serving.protocols.asking import INFER, LENGTH, WIDTH, columns, framed
from tests.serving.protocols.worker import Worker, working


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    world = World(tmp_path_factory.mktemp("v2"))
    world.deploy("1", world.bundle())
    with working(world) as worker:
        yield worker


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
