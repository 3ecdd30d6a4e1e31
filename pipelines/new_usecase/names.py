"""Names of ours for columns of theirs."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Collection

from mlops.errors import ConfigError

__all__ = ["check_name", "slug", "unused"]

_RESERVED = {"day"}  # tables are kept in folders of that name


def slug(header: str) -> str:
    """A header as a Python name: `Passenger Class`, `passengerClass` and `PASSENGER_CLASS` are passenger_class."""
    text = unicodedata.normalize("NFKD", header.replace("ß", "ss")).encode("ascii", "ignore").decode()
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", text)
    text = re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_")
    if not text or text[0].isdigit():
        text = f"column_{text}".rstrip("_")
    return f"{text}_" if keyword.iskeyword(text) or text in _RESERVED else text


def unused(name: str, taken: Collection[str]) -> str:
    """The name, or the name with the first number that makes it another than all that are taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a package.

    Raises:
        ConfigError: it is no Python name in small letters.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            "is no name for a Python package", where=name, todo=f"small letters, digits and _: {slug(name)}"
        )
