"""Tensors as bytes: what the clients write is read, and what is written they read; nothing else passes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InputError
from serving.protocols.binary import DTYPES, decode, encode, head_and_rest

PACKED = dict(zip(DTYPES, "?BHIQbhiqefd", strict=True))
"""The datatypes as `struct` calls them."""


@pytest.mark.parametrize("datatype", DTYPES)
def test_numbers_are_little_endian_without_gaps(datatype: str) -> None:
    values = np.array([0, 1, 1, 0, 1]).astype(DTYPES[datatype])
    written = struct.pack(f"<5{PACKED[datatype]}", *values.tolist())
    assert encode(datatype, values) == encode(datatype, values.tolist()) == written
    read = decode(datatype, written, 5, "x")
    assert isinstance(read, np.ndarray)
    assert (read.tolist(), read.dtype) == (values.tolist(), np.dtype(DTYPES[datatype]))


@given(st.lists(st.text()))
def test_texts_come_after_their_lengths(texts: list[str]) -> None:
    written = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    assert encode("BYTES", texts) == written
    assert decode("BYTES", written, len(texts), "x") == texts


@pytest.mark.parametrize(
    ("datatype", "data", "count", "said"),
    [
        ("FP32", bytes(7), 2, "7 bytes are not 2 elements of FP32, 4 bytes each"),
        ("FP32", bytes(12), 2, "12 bytes are not 2"),
        ("INT64", b"", 1 << 80, "0 bytes are not"),
        ("BOOL", b"\0\1\2", 3, "neither 0 nor 1"),
        ("BYTES", b"\1\0\0\0a", 2, "1 elements of BYTES, and the shape has 2"),
        ("BYTES", b"\1\0\0\0a\0\0\0", 2, "element 1 of BYTES does not end"),
        ("BYTES", b"\2\0\0\0a", 1, "element 0 of BYTES does not end"),
        ("BYTES", b"\xff\xff\xff\xffabc", 1, "element 0 of BYTES does not end"),
        ("BYTES", b"\1\0\0\0\xff", 1, "element 0 of BYTES is not UTF-8"),
        ("BYTES", b"", 1, "0 elements of BYTES"),
        ("BYTES", bytes(4) * 3 + b"\xff", 2, "more than 2 elements of BYTES"),
    ],
)
def test_bytes_that_are_not_what_was_said_are_refused(
    datatype: str, data: bytes, count: int, said: str
) -> None:
    with pytest.raises(InputError, match=rf"^input 'x': .*{said}"):
        decode(datatype, data, count, "input 'x'")


@given(st.sampled_from([*DTYPES, "BYTES"]), st.binary(max_size=64), st.integers(0, 40))
def test_any_bytes_are_so_many_elements_or_refused(datatype: str, data: bytes, count: int) -> None:
    try:
        values = decode(datatype, data, count, "x")
    except InputError:
        return
    assert len(values) == count
    assert encode(datatype, values) == data


def test_the_json_ends_where_the_header_says() -> None:
    assert head_and_rest(b"{}abc", None) == (b"{}abc", b"")
    assert head_and_rest(b"{}abc", b"2") == (b"{}", b"abc")
    assert head_and_rest(b"{}", b"2") == (b"{}", b"")


@pytest.mark.parametrize("header", [b"6", b"-1", b"", b"x", b"1.0", b"9" * 5000, "٣".encode(), b"\xff"])
def test_a_length_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(InputError, match=r"^Inference-Header-Content-Length: must be a length within"):
        head_and_rest(b"{}abc", header)
