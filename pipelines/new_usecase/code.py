"""Values as Python code, laid out as the formatter lays it out: on a line if they fit, else an item a line."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["assigned", "comment", "imported", "string"]

WIDTH = 110
_STEP = 4


class _Item(msgspec.Struct, frozen=True):
    """What stands between two commas: `amount=`, the value, and the comments above it."""

    lead: str
    value: _Group | str
    comments: tuple[str, ...] = ()


class _Group(msgspec.Struct, frozen=True):
    """Brackets and what is in them. `lone`: a single argument, after which no comma is needed."""

    opening: str
    items: tuple[_Item, ...]
    closing: str
    lone: bool = False


def assigned(name: str, value: Any, comments: Mapping[int, Sequence[str]]) -> str:
    """The code of `name = value`.

    Args:
        value: a msgspec struct, a tuple, a dict, a string, a number or a truth value, or such in one another.
        comments: the lines of comment above an item, by the item's `id`.
    """
    lead = f"{name} = "
    return lead + _text(_group(value, comments), 0, len(lead), 0) + "\n"


def comment(text: str, indent: int = 0) -> str:
    """Lines of comment."""
    pad = " " * indent + "# "
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=pad,
        subsequent_indent=pad,
        break_long_words=False,
        break_on_hyphens=False,
    )


def imported(module: str, names: Sequence[str]) -> str:
    """A line that imports names of one kind, or more than one if it is too long."""
    line = f"from {module} import {', '.join(sorted(names))}"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"


def string(text: str) -> str:
    """A string's code, in double quotes unless that takes more escapes."""
    if text.count('"') > text.count("'"):
        return repr(text)
    body = repr(f"'\"{text}")[4:-1]  # begun so, it is in single quotes, with its own escaped
    return '"' + body.replace("\\'", "'").replace('"', '\\"') + '"'


def _group(value: Any, comments: Mapping[int, Sequence[str]]) -> _Group | str:
    def item(lead: str, part: Any) -> _Item:
        return _Item(lead, _group(part, comments), tuple(comments.get(id(part), ())))

    if isinstance(value, str):
        return string(value)
    if isinstance(value, tuple):
        closing = ",)" if len(value) == 1 else ")"
        return _Group("(", tuple(item("", part) for part in value), closing)
    if isinstance(value, dict):
        return _Group("{", tuple(item(f"{string(key)}: ", part) for key, part in value.items()), "}")
    if isinstance(value, msgspec.Struct):
        signature = inspect.signature(type(value)).parameters
        parts = [
            (field.name, getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if field.required or getattr(value, field.name) != _default(field)
        ]
        named = {name for name, _ in parts if signature[name].kind is inspect.Parameter.KEYWORD_ONLY}
        leads = (f"{name}=" if name in named else "" for name, _ in parts)
        items = tuple(item(lead, part) for lead, (_, part) in zip(leads, parts, strict=True))
        return _Group(f"{type(value).__name__}(", items, ")", lone=len(items) == 1 and not named)
    return repr(value)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _flat(node: _Group | str) -> str | None:
    """All on one line; None where a comment stands in the way."""
    if isinstance(node, str):
        return node
    parts = []
    for item in node.items:
        text = _flat(item.value)
        if text is None or item.comments:
            return None
        parts.append(item.lead + text)
    return node.opening + ", ".join(parts) + node.closing


def _text(node: _Group | str, indent: int, used: int, after: int) -> str:
    """The code, where `used` characters stand before it on its line and `after` come behind it."""
    flat = _flat(node)
    if isinstance(node, str) or (flat is not None and used + len(flat) + after <= WIDTH):
        return flat or ""
    inner, pad = indent + _STEP, " " * (indent + _STEP)
    comma = "" if node.lone else ","
    lines = [node.opening]
    for item in node.items:
        lines += [comment(text, inner) for text in item.comments]
        text = _text(item.value, inner, inner + len(item.lead), len(comma))
        lines.append(f"{pad}{item.lead}{text}{comma}")
    return "\n".join([*lines, " " * indent + node.closing.removeprefix(",")])
