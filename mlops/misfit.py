"""What msgspec says of a value that does not fit its type, as people say it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

__all__ = ["misfit"]

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object",
}
_LIMITS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}
_MISFIT = re.compile(
    r"(?:Expected `(?P<kinds>[^`]+)`(?: (?P<limit>[<>]=?) (?P<bound>[^,]+?))?(?:, got `[^`]+`)?"
    r"|(?P<word>Invalid enum value .*?))(?: - at `\$\.?(?P<path>[^`]*)`)?"
)
_STEP = re.compile(r"\[(?P<place>\d+|\.\.\.)\]|\.?(?P<name>[^.\[]+)")
_UNKNOWN = object()


def misfit(error: msgspec.ValidationError, given: Any, kind: Any) -> tuple[str, str]:
    """What does not fit, such as "'abc' is not a whole number", and the field; the field is empty for all of `given`.

    Args:
        given: what `msgspec.convert` was given, and `kind` the type.
    """
    found = _MISFIT.fullmatch(str(error))
    if found is None:  # a sentence of the type's own, or a rare one
        said, _, path = str(error).partition(" - at `$")
        return said, path.strip(".`")
    path = found["path"] or ""
    value = _at(given, path)
    said = "it" if value is _UNKNOWN else repr(value)
    if found["word"]:
        words = _words(kind, path)
        return f"{said} is not one of {', '.join(words)}" if words else f"{said} is no value for it", path
    kinds = " or ".join(_KINDS.get(name, name) for name in found["kinds"].split(" | "))
    limit = f" {_LIMITS[found['limit']]} {found['bound']}" if found["limit"] else ""
    return f"{said} is not {kinds}{limit}", path


def _at(given: Any, path: str) -> Any:
    for step in _STEP.finditer(path):
        try:
            given = given[int(step["place"]) if step["place"] else step["name"]]
        except (KeyError, IndexError, TypeError, ValueError):  # such as [...], any key
            return _UNKNOWN
    return given


def _words(kind: Any, field: str) -> list[str]:
    """The words that a field of a struct may be; none where it is another type."""
    types = {one.encode_name: one.type for one in getattr(msgspec.inspect.type_info(kind), "fields", ())}
    literal = types.get(field)
    return [str(word) for word in literal.values] if isinstance(literal, msgspec.inspect.LiteralType) else []
