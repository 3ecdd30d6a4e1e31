"""JSON in which no object has a member twice, of which its readers take one or the other.

Who decodes a body knows how many texts are in it, names of members among them. Each stands between two quotation marks:
where the body has as many, nothing was left out. It is read once more only where it has others.
"""

from __future__ import annotations

from typing import Any

from mlops.errors import InputError
from serving.events import decode_json, read_json

__all__ = ["check_once", "decoded", "texts_in"]


def decoded(body: bytes) -> Any:
    """A body's JSON.

    Raises:
        InputError: it is no JSON, or has a member twice.
    """
    raw = decode_json(body)
    check_once(body, texts_in(raw))
    return raw


def texts_in(value: Any) -> int:
    """How many texts are in a decoded value."""
    texts, left = 0, [value]
    while left:
        value = left.pop()
        if type(value) is str:
            texts += 1
        elif type(value) is dict:
            texts += len(value)
            left += value.values()
        elif type(value) is list:
            left += value
    return texts


def check_once(body: bytes, texts: int) -> None:
    """Refuse a body that has a member twice.

    Args:
        texts: how many were found in it.

    Raises:
        InputError: it names the member.
    """
    if body.count(b'"') != 2 * texts:  # a text has one in it, or something was left out
        read_json(body, _once)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError("is there twice", where=twice[:80], todo="leave one out")
    return found
