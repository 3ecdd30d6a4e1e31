"""What engines hand over as text, as the lifecycle takes it."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlsplit

from mlops.contract import EFFORTS, Effort
from mlops.errors import ConfigError

__all__ = ["day", "effort", "no_password"]


def day(text: str, where: str = "") -> date | None:
    """A day, written as 2018-07-25; the empty text is none.

    Raises:
        ConfigError: it is not a date.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ConfigError(f"{text!r} is not a date", where=where, todo="write it as 2018-07-25") from None


def effort(text: str, where: str = "effort") -> Effort:
    """An effort by its name.

    Raises:
        ConfigError: there is no such effort.
    """
    for known in EFFORTS:
        if text == known:
            return known
    raise ConfigError(f"no effort {text!r}", where=where, todo=f"choose one of {', '.join(EFFORTS)}")


def no_password(uri: str, where: str, *, engine: str) -> None:
    """See that a place may be a parameter: its engine keeps those in a database, and shows them.

    Raises:
        ConfigError: it holds a password, or cannot be told to hold none.
    """
    try:
        secret = urlsplit(uri).password
    except ValueError as error:
        raise ConfigError(f"is no path or URI: {error}", where=where) from None
    if secret is not None:
        raise ConfigError(
            f"holds a password, which {engine} would keep and show",
            where=where,
            todo="give credentials to its processes: as AWS_*, or as their identity",
        )
