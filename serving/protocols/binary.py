"""The binary tensor extension of the Open Inference Protocol: tensors as bytes behind a body's JSON, both ways.

Little-endian, row by row, without gaps; BOOL is one byte, 0 or 1; each element of BYTES comes after its length, uint32.
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.errors import InputError

__all__ = ["DTYPES", "HEADER", "Values", "decode", "encode", "head_and_rest"]

HEADER = b"inference-header-content-length"
"""The header that says how long the JSON is which the tensors follow."""

DTYPES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""The datatypes but BYTES, as NumPy calls them on the wire."""

Values = NDArray[Any] | list[Any]
"""A tensor's elements, row by row; those of BYTES are text."""

_LENGTH = struct.Struct("<I")


def head_and_rest(body: bytes, header: bytes | None) -> tuple[bytes, bytes]:
    """The JSON of a body, and the tensors behind it.

    Args:
        header: what `HEADER` says, if it came.

    Raises:
        InputError: it is not a length within the body.
    """
    if header is None:
        return body, b""
    length = int(header) if header.isdigit() and len(header) < 19 else len(body) + 1
    if length > len(body):
        said = header[:40].decode("latin-1")
        raise InputError(
            f"must be a length within the body's {len(body)} bytes, not {said!r}",
            where="Inference-Header-Content-Length",
        )
    return body[:length], body[length:]


def decode(datatype: str, data: bytes, count: int, where: str) -> Values:
    """The `count` elements of an input.

    Raises:
        InputError: `data` are not so many elements of this datatype.
    """
    if datatype == "BYTES":
        return _texts(data, count, where)
    dtype = np.dtype(DTYPES[datatype])
    if len(data) != count * dtype.itemsize:
        raise InputError(
            f"{len(data)} bytes are not {count} elements of {datatype}, {dtype.itemsize} bytes each",
            where=where,
        )
    if datatype == "BOOL" and data.strip(b"\0\1"):
        raise InputError("a byte of BOOL is neither 0 nor 1", where=where)
    return np.frombuffer(data, dtype)


def encode(datatype: str, values: Values) -> bytes:
    """An output's elements as bytes."""
    if datatype != "BYTES":
        return np.asarray(values, DTYPES[datatype]).tobytes()
    parts: list[bytes] = []
    for text in values:
        written = text.encode()
        parts += (_LENGTH.pack(len(written)), written)
    return b"".join(parts)


def _texts(data: bytes, count: int, where: str) -> list[str]:
    texts: list[str] = []
    at = 0
    while at < len(data):
        if len(texts) == count:
            raise InputError(f"more than {count} elements of BYTES, and the shape has {count}", where=where)
        begin = at + _LENGTH.size
        at = begin + _LENGTH.unpack_from(data, at)[0] if begin <= len(data) else len(data) + 1
        if at > len(data):
            raise InputError(f"element {len(texts)} of BYTES does not end within the data", where=where)
        try:
            texts.append(data[begin:at].decode())
        except UnicodeDecodeError:
            raise InputError(f"element {len(texts)} of BYTES is not UTF-8", where=where) from None
    if len(texts) != count:
        raise InputError(f"{len(texts)} elements of BYTES, and the shape has {count}", where=where)
    return texts
