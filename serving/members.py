"""The JSON of a request's body, in which no object may have a member twice: its readers take one or the other.

Who decodes a body knows how many texts are in it, names of members among them. Each stands between two quotation marks:
where the body has as many, nothing was left out. It is read once more only where it has others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from mlops.errors import InputError

__all__ = ["check_members", "check_once", "decode_json", "decoded", "texts_in"]


def decode_json(body: bytes) -> Any:
    """The value in a request's body.

    `NaN`, `Infinity` and numbers beyond a double are let through, so that the field which has one can be named.

    Raises:
        InputError: not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read(body)


def decoded(body: bytes) -> Any:
    """The same, where no object has a member twice.

    Raises:
        InputError: not JSON, or it names the member.
    """
    raw = decode_json(body)
    texts = texts_in(raw)
    if _quotation_marks(body) != 2 * texts:
        del raw  # which may be large, and another is made
        check_once(body, texts)
        raw = decode_json(body)
    return raw


def check_members(body: bytes, raw: Any) -> None:
    """Refuse a body that has a member twice, at the price of a glance where it is objects without others in them.

    Args:
        raw: what `body` was decoded to.

    Raises:
        InputError: it names the member.
    """
    texts = 0
    for item in raw if type(raw) is list else (raw,):
        if type(item) is dict:
            texts += len(item) + [*map(type, item.values())].count(str)
    if body.count(b'"') != 2 * texts:
        check_once(body, texts_in(raw))


def check_once(body: bytes, texts: int) -> None:
    """Refuse a body that has a member twice.

    Args:
        texts: how many were found in it.

    Raises:
        InputError: it names the member, after its place if the body is a list.
    """
    if _quotation_marks(body) == 2 * texts:
        return
    found = _read(body, _first_twice)
    for place, item in enumerate(found if type(found) is list else (found,)):
        if (twice := _twice_in(item)) is not None:
            at = f"[{place}]." if type(found) is list else ""
            raise InputError("is there twice", where=f"{at}{twice[:80]}", todo="leave one out")


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


class _Twice(str):
    """The name of a member that its object has twice."""


def _first_twice(members: list[tuple[str, Any]]) -> _Twice | None:
    """All that is kept of an object."""
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            return _Twice(name)
        seen.add(name)
    return _twice_in([value for _, value in members])


def _twice_in(value: Any) -> _Twice | None:
    left = [value]
    while left:
        value = left.pop()
        if type(value) is _Twice:
            return value
        if type(value) is list:
            left += value
    return None


def _quotation_marks(body: bytes) -> int:
    """Those around texts. A backslash is in texts only, and with what follows it stands for one character."""
    if b"\\" not in body:
        return body.count(b'"')
    body = body.replace(b"\\\\", b"")
    return body.count(b'"') - body.count(b'\\"')


def _read(body: bytes, members: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value, decoded by who says best what is wrong with it."""
    try:
        return json.loads(body.decode(), object_pairs_hook=members)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos}"
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 at byte {error.start}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError:  # Python's own bound, as reading a number takes the square of its digits
        reason = f"a number has more than {sys.get_int_max_str_digits()} digits"
    raise InputError(f"the body is not JSON: {reason}")
