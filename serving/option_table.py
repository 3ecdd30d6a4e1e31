"""Every option of the server: its name, what reads it, and what it is where nobody says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["OPTIONS", "PREFIX", "STORE", "Option"]

PREFIX = "MLOPS_SERVING_"

STORE = "MLOPS_STORE"
"""The variable of the store's URI, which may hold a password; the platform's other commands read it, too."""

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}
_MB = 2**20


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option.

    Fields:
        name: as its variable has it, in small letters; field: of `Options`.
        read: what makes a value of its text; its docstring says what fits.
        help: what it is; usual: what it is unless it is said, in words.
        flag: whether it takes no value on the command line.
    """

    name: str
    field: str
    read: Callable[[Any], Any]
    help: str
    usual: str = ""
    flag: bool = False

    @property
    def argument(self) -> str:
        """What it is called on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """What it is called in the environment."""
        return STORE if self.name == "store" else PREFIX + self.name.upper()


def _path(text: str) -> Path:
    return Path(text).absolute()


def _flag(text: str | bool) -> bool:
    """true or false"""
    said = str(text).strip().lower()
    if said not in _TRUE | _FALSE:
        raise ValueError
    return said in _TRUE


def _number(least: float, most: float, unit: float = 1.0) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not least <= value <= most:  # nor is NaN
            raise ValueError
        return value * unit

    read.__doc__ = f"a number from {least:g} to {most:g}"
    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError
        return value

    read.__doc__ = f"one from {least} to {most}"
    return read


def _bytes(least: float, most: float) -> Callable[[str], int]:
    megabytes = _number(least, most, _MB)

    def read(text: str) -> int:
        return int(megabytes(text))

    read.__doc__ = megabytes.__doc__
    return read


def _format(text: str) -> str:
    """json or text"""
    if text not in ("json", "text"):
        raise ValueError
    return text


def _option(
    name: str,
    read: Callable[[Any], Any],
    help: str,
    usual: str = "",
    *,
    field: str = "",
) -> Option:
    return Option(name=name, field=field or name, read=read, help=help, usual=usual, flag=read is _flag)


OPTIONS = (
    _option("pointer", _path, "the deployment file to follow"),
    _option(
        "store", str, f"the online store: a folder or redis://host:port; with a password better as ${STORE}"
    ),
    _option("decisions", _path, "folder of the decision and label logs"),
    _option("public_key", _path, "PEM file that verifies bundles"),
    _option("audit", _path, "folder of the log of administrative calls", "that of the decisions"),
    _option("host", str, "address to listen on", "127.0.0.1"),
    _option("port", _whole(0, 65535), "0 picks a free one", "8080"),
    _option("workers", _whole(1, 256), "processes that answer", "1"),
    _option("keys", _path, "file of API keys, as `mlops keys create` makes it"),
    _option("no_keys", _flag, "ask for no keys; on loopback only"),
    _option("trust_network", _flag, "ask for no keys on any address, as a gateway before it does"),
    _option("poll_seconds", _number(0.01, 3600), "how often the pointer is looked at", "0.5"),
    _option(
        "queue",
        _whole(1, 1_000_000),
        "events, and turns of labels, that may wait in a worker; more are refused with 503",
        "128",
    ),
    _option("timeout_seconds", _number(0.01, 3600), "within which a request must be whole", "10"),
    _option("idle_seconds", _number(0.01, 86_400), "how long a connection may say nothing", "65"),
    _option("max_body_mb", _bytes(0.001, 1024), "how large a request may be", "8", field="max_body_bytes"),
    _option(
        "drain_seconds",
        _number(0, 3600),
        "how long it goes on accepting after SIGTERM, no longer ready",
        "0.5",
    ),
    _option("grace_seconds", _number(0, 3600), "what is in hand gets after that", "10"),
    _option("fsync", _flag, "answer when the disk has the decision"),
    _option(
        "rotate_mb",
        _bytes(0.001, 1_000_000),
        "size at which a log file is closed",
        "64",
        field="rotate_bytes",
    ),
    _option(
        "rotate_minutes",
        _number(0.001, 1_000_000, 60.0),
        "age at which a log file is closed",
        "60",
        field="rotate_seconds",
    ),
    _option(
        "max_future_hours",
        _number(0, 1_000_000, 3600.0),
        "how far after now an event may be; 0 for any",
        "24",
        field="max_future_seconds",
    ),
    _option("log_format", _format, "json or text", "text on a terminal, else json"),
)
