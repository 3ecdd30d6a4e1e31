"""What the Open Inference Protocol asks and answers with: tensors in JSON, or in bytes behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from mlops.errors import InputError
from serving.http import Response
from serving.members import check_once, texts_in
from serving.protocols.binary import DTYPES, HEADER, Values, decode, encode, head_and_rest

__all__ = ["Asked", "Tensor", "answer", "read", "wanted"]

_MAX_NAME = 80  # of what is said again in an error
_MAX_INPUTS = 1_000


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Input(_Part, frozen=True, kw_only=True):
    datatype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0, lt=2**31)]]
    data: Raw | UnsetType = UNSET


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a request. What is not listed is tolerated, and so are parameters that say nothing here.

    Fields:
        model_name: as KServe's client sends it; the path says which model is asked.
    """

    id: str | None = None
    model_name: Any = None
    parameters: dict[str, Any] | None = None
    inputs: list[_Input]
    outputs: list[_Part] | None = None


class Tensor(msgspec.Struct, frozen=True):
    """An input or an output: one dimension or two, the rows' number first."""

    datatype: str
    shape: list[int]
    values: Values


_KINDS: dict[str, Any] = {
    **{name: float if name.startswith("FP") else int for name in DTYPES},
    "BOOL": bool,
    "BYTES": str,
}
# Elements in one list, or in a list a row; one that is null is missing.
_ROWS: dict[str, Any] = {name: list[kind | None] for name, kind in _KINDS.items()}  # type: ignore[valid-type]
_FLAT = {name: msgspec.json.Decoder(row).decode for name, row in _ROWS.items()}
_BY_ROW = {
    name: msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
    for name, row in _ROWS.items()
}
_NULL = Raw(b"null")
_LISTS = re.compile(rb"\s*\[\s*\[")
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_asked = msgspec.json.Decoder(Asked).decode
_encode = msgspec.json.encode


def read(body: bytes, header: bytes | None, max_rows: int) -> tuple[Asked, dict[str, Tensor]]:
    """What is asked, and its inputs by name.

    Args:
        header: what `binary.HEADER` says, if it came.
        max_rows: of an input.

    Raises:
        InputError: it is no such request, or too large a one, an input is not what its datatype and shape say, bytes
            are left over, or a member is there twice.
    """
    head, rest = head_and_rest(body, header)
    try:
        asked = _asked(head)
    except _REFUSED as error:
        raise InputError(f"not a request of the Open Inference Protocol: {error}") from None
    if len(asked.inputs) > _MAX_INPUTS:
        raise InputError(f"{len(asked.inputs)} inputs in one request", todo=f"send at most {_MAX_INPUTS}")
    tensors: dict[str, Tensor] = {}
    at, texts = 0, _texts_around(asked)
    for given in asked.inputs:
        where = f"input {given.name[:_MAX_NAME]!r}"
        if given.name in tensors:
            raise InputError("came twice", where=where)
        if given.datatype not in _KINDS:
            known = ", ".join(_KINDS)
            raise InputError(
                f"{given.datatype[:_MAX_NAME]!r} is not one of the datatypes {known}", where=where
            )
        if len(given.shape) not in (1, 2):
            raise InputError("must have one dimension, or two", where=where)
        count = math.prod(given.shape)
        if given.shape[0] > max_rows or (given.datatype == "BYTES" and count > max_rows):
            raise InputError(f"{count} elements", where=where, todo=f"send at most {max_rows} rows")
        parameters = given.parameters or {}
        if "binary_data_size" in parameters:
            size = parameters["binary_data_size"]
            if type(size) is not int or not 0 <= size <= len(rest) - at:
                left = f"the {len(rest) - at} bytes that are left behind the JSON"
                raise InputError(f"binary_data_size is not within {left}", where=where)
            if (
                given.data is not UNSET and given.data != _NULL
            ):  # KServe's client says null where no bytes are sent
                raise InputError("has both data and binary_data_size", where=where)
            values = decode(given.datatype, rest[at : at + size], count, where)
            at += size
        elif given.data is not UNSET:
            values = _from_json(given.data, given.datatype, given.shape, where)
            if given.datatype == "BYTES":
                texts += len(values) - values.count(None)
        else:
            raise InputError("has neither data nor binary_data_size", where=where)
        tensors[given.name] = Tensor(given.datatype, given.shape, values)
    if at < len(rest):
        raise InputError(f"{len(rest) - at} bytes follow that belong to no input")
    check_once(head, texts)
    return asked, tensors


def wanted(asked: Asked, there: Collection[str]) -> dict[str, bool]:
    """The outputs that are to be given, of those that are `there`, and whether each is to be in bytes.

    Raises:
        InputError: there is no such output, or not in that form.
    """
    usual = _flag(asked.parameters, "binary_data_output", False, "parameters")
    if not asked.outputs:
        return dict.fromkeys(there, usual)
    found: dict[str, bool] = {}
    for output in asked.outputs:
        name, where = output.name, f"output {output.name[:_MAX_NAME]!r}"
        if name not in there:
            raise InputError(f"there is none; there are {', '.join(there)}", where=where)
        if name in found:
            raise InputError("is asked for twice", where=where)
        for extension in ("classification", "shared_memory_region"):
            if extension in (output.parameters or {}):
                raise InputError(
                    f"the parameter {extension} is of an extension that is not spoken", where=where
                )
        found[name] = _flag(output.parameters, "binary_data", usual, where)
    return found


def answer(
    asked: Asked, model: str, version: str, outputs: Mapping[str, Tensor], in_bytes: Mapping[str, bool]
) -> Response:
    """The response with `outputs`, of which some are bytes."""
    told: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for name, output in outputs.items():
        values = output.values
        described: dict[str, Any] = {"name": name, "datatype": output.datatype, "shape": output.shape}
        if in_bytes[name]:
            behind.append(encode(output.datatype, values))
            described["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            described["data"] = values.tolist() if isinstance(values, np.ndarray) else values
        told.append(described)
    named = {"model_name": model, "model_version": version}
    if asked.id is not None:
        named["id"] = asked.id
    head = _encode({**named, "outputs": told})
    if not behind:
        return Response(head)
    length = {HEADER: b"%d" % len(head)}
    return Response(b"".join((head, *behind)), 200, b"application/octet-stream", length)


def _texts_around(asked: Asked) -> int:
    """How many texts a request's JSON has, but for those in the inputs' data and in what is not listed."""
    texts = 1  # inputs
    for given in asked.inputs:
        texts += 5 if given.data is UNSET else 6  # data; name, datatype and shape, of which two have a text
        if given.parameters is not None:
            texts += 1 + texts_in(given.parameters)
    if asked.id is not None:
        texts += 2
    if asked.model_name is not None:
        texts += 1 + texts_in(asked.model_name)
    if asked.parameters is not None:
        texts += 1 + texts_in(asked.parameters)
    if asked.outputs is not None:
        texts += 1 + 2 * len(asked.outputs)
        texts += sum(1 + texts_in(o.parameters) for o in asked.outputs if o.parameters is not None)
    return texts


def _flag(parameters: Mapping[str, Any] | None, name: str, default: bool, where: str) -> bool:
    value = (parameters or {}).get(name, default)
    if type(value) is not bool:
        raise InputError(f"{name} must be true or false", where=where)
    return value


def _from_json(data: Raw, datatype: str, shape: list[int], where: str) -> list[Any]:
    values: list[Any]
    try:
        if len(shape) == 2 and _LISTS.match(data):
            rows: list[list[Any]] = _BY_ROW[datatype](data)
            fits = len(rows) == shape[0] and all(len(row) == shape[1] for row in rows)
            values = [value for row in rows for value in row] if fits else []
        else:
            values = _FLAT[datatype](data)
            fits = len(values) == math.prod(shape)
    except _REFUSED as error:
        raise InputError(f"data of {datatype}: {error}", where=where) from None
    if not fits:
        raise InputError(f"the data are not of the shape {shape}", where=where)
    return values
