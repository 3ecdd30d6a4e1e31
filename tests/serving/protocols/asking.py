"""What protocols are asked: rows of features, and tensors of the Open Inference Protocol, in JSON and in bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.serving.example import FEATURES

__all__ = ["INFER", "LENGTH", "ROWS", "WIDTH", "columns", "features", "framed"]

WIDTH = len(FEATURES.names)
ROWS = [[0.5 * n + m for m in range(WIDTH)] for n in range(3)]
INFER = "/v2/models/example/infer"
LENGTH = "Inference-Header-Content-Length"
TYPES = {
    "payment": "INT64",
    "card": "INT64",
    "shop": "INT64",
    "items": "INT64",
    "amount": "FP64",
    "abroad": "BOOL",
}


def features(data: Any, shape: list[int] | None = None, datatype: str = "FP32") -> dict[str, Any]:
    """The input of rows of features."""
    return {"name": "features", "datatype": datatype, "shape": shape or [len(data), WIDTH], "data": data}


def columns(events: list[dict[str, Any]], **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Events as a tensor a column."""
    count = len(events)
    return [
        {
            "name": name,
            "datatype": TYPES.get(name, "BYTES"),
            "shape": [count],
            "data": [event[name] for event in events],
        }
        | changes.get(name, {})
        for name in events[0]
        if name != "note"
    ]


def framed(request: dict[str, Any], *tensors: bytes) -> tuple[bytes, dict[str, str]]:
    """A body of JSON and bytes, and its header."""
    head = msgspec.json.encode(request)
    return head + b"".join(tensors), {LENGTH: str(len(head))}
