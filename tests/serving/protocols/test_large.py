"""What a body of the greatest size costs: it is refused, or answered, within a multiple of its size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import msgspec
import pytest

from serving.instruments import REJECTED
from serving.protocols.core import MAX_BODY_BYTES
from tests.serving.example import FEATURES
from tests.serving.protocols.asking import INFER
from tests.serving.protocols.worker import Worker

PATHS = ("/invocations", "/predict", "/score", INFER, "/v2/models/example/versions/1/infer")
TENSOR = b'{"x":"","inputs":[{"name":"features","datatype":"%b","shape":[%b],"data":['


def filled(before: bytes, item: bytes, after: bytes = b"]}") -> bytes:
    """A body of the greatest size, or a little less, with as many items in it as there is place for."""
    number = (MAX_BODY_BYTES - len(before) - len(after)) // (len(item) + 1)
    return before + b",".join([item] * number) + after


WORST = {
    "lists after a quotation mark": ("/predict", filled(b'{"x":"\\"","instances":[', b"[1]")),
    "lists after a member twice": ("/predict", filled(b'{"x":1,"x":2,"instances":[', b"[1]")),
    "objects": ("/score", filled(b'{"data":[', b'{"":1}')),
    "rows of a tensor": (INFER, filled(TENSOR % (b"FP32", b"1,2"), b"[]", b"]}]}")),
    "texts of a tensor": (INFER, filled(TENSOR % (b"BYTES", b"1000"), b'"ab"', b"]}]}")),
    "names": ("/score", b'{"data":[],%b,"data":1}' % b",".join(b'"%d":1' % n for n in range(195_000))),
}


@pytest.mark.parametrize(("path", "body"), WORST.values(), ids=WORST)
def test_the_worst_bodies_take_no_more_than_forty_times_their_size(
    worker: Worker, path: str, body: bytes
) -> None:
    assert 0.9 * MAX_BODY_BYTES < len(body) <= MAX_BODY_BYTES
    tracemalloc.start()
    try:
        status = worker.post(path, body)[0]
        assert status in (400, 422)
        assert tracemalloc.get_traced_memory()[1] < 40 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


def test_texts_in_bytes_are_not_read_beyond_the_shape(worker: Worker) -> None:
    told = {
        "name": "payment",
        "datatype": "BYTES",
        "shape": [10],
        "parameters": {"binary_data_size": 2_000_000},
    }
    head = msgspec.json.encode({"inputs": [told]})
    length = {"inference-header-content-length": str(len(head))}
    tracemalloc.start()
    try:
        status, said = worker.post(INFER, head + b"\1\0\0\0a" * 400_000, length)
        assert (status, said) == (
            400,
            {"error": "input 'payment': more than 10 elements of BYTES, and the shape has 10"},
        )
        assert tracemalloc.get_traced_memory()[1] < 6 * MAX_BODY_BYTES  # the body itself, and parts of it
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", PATHS)
def test_a_larger_body_is_refused_before_it_is_parsed(worker: Worker, path: str) -> None:
    place = REJECTED.at("body")
    before = worker.state.metrics.cells[place]
    status, said = worker.post(path, b"{" * (MAX_BODY_BYTES + 1))
    detail = f"the body is larger than {MAX_BODY_BYTES} bytes"
    assert (status, said.get("detail") or said["error"]) == (413, detail)
    assert worker.state.metrics.cells[place] == before + 1
    assert worker.post(path, b"{" * MAX_BODY_BYTES)[0] in (400, 422)


@pytest.mark.parametrize(
    "row",
    [
        lambda: [0.123456789 + n for n in range(len(FEATURES.names))],
        lambda: {name: 0.123456789 + n for n, name in enumerate(FEATURES.names)},
    ],
    ids=["in order", "by name"],
)
def test_as_many_rows_as_are_taken_fit(worker: Worker, row: Callable[[], object]) -> None:
    status, said = worker.post("/predict", {"instances": [row()] * 1_000})
    assert (status, len(said["predictions"])) == (200, 1_000)
