"""What the server is told: on its command line, or for each option by a variable `MLOPS_SERVING_<NAME>`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops.errors import ConfigError

__all__ = ["PREFIX", "STORE", "Options", "options_of"]

PREFIX = "MLOPS_SERVING_"

STORE = "MLOPS_STORE"
"""The variable of the store's URI, which may hold a password; the platform's other commands read it, too."""

_LOOPBACK = re.compile(r"127(\.\d+){3}|::1|localhost")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}
_MB = 2**20


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The server's options, checked. Those of a worker are the same, and come to it through a pipe.

    Fields:
        pointer: the deployment file to follow; public_key: what bundles must be signed for.
        store: URI of the online store; it may hold a password.
        decisions, audit: the folders of the decision and label logs, and of the log of administrative calls.
        keys: the file of API keys; None if `no_keys`, which only a server on loopback may be, or one with
            `trust_network`: all that reaches it was let through by a gateway.
        queue: events that may wait in a worker.
        timeout_seconds: within which a request must be whole; idle_seconds: how long a connection may say nothing.
        drain_seconds: how long a server that was told to end goes on accepting, so that whoever balances load
            notices; grace_seconds: what it has in hand gets after that.
        fsync: whether an answer waits until the disk has its decision.
        rotate_bytes, rotate_seconds: when a log file is closed and another begun.
        max_future_seconds: how far after now an event may be; 0 for any.
    """

    pointer: Path
    store: str
    decisions: Path
    public_key: Path
    audit: Path
    host: str = "127.0.0.1"
    port: int = 8080
    poll_seconds: float = 0.5
    workers: int = 1
    keys: Path | None = None
    no_keys: bool = False
    trust_network: bool = False
    queue: int = 128
    timeout_seconds: float = 10.0
    idle_seconds: float = 65.0
    max_body_bytes: int = 8 * _MB
    drain_seconds: float = 0.5
    grace_seconds: float = 10.0
    fsync: bool = False
    rotate_bytes: int = 64 * _MB
    rotate_seconds: float = 3600.0
    max_future_seconds: float = 86_400.0
    log_format: Literal["json", "text"] = "json"

    def to_json(self) -> bytes:
        """For a worker."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, data: bytes) -> Options:
        """What `to_json` gave."""
        return msgspec.json.decode(data, type=cls, dec_hook=lambda type_, value: type_(value))


def options_of(arguments: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> Options:
    """The options of a command line, this process's if none is given; what it leaves out is looked for in `env`.

    Raises:
        ConfigError: a value that does not fit, or too little was said.
        SystemExit: the command line cannot be read, or asks for help.
    """
    variables = os.environ if env is None else env
    parsed = vars(_parser().parse_args(arguments))
    given = {name: value for name, value in parsed.items() if value is not None}
    asked = {"keys", "no_keys"} & given.keys()
    for name in _READ:
        if asked and name in ("keys", "no_keys"):
            continue  # the command line has said it
        variable = STORE if name == "store" else PREFIX + name.upper()
        if name not in given and variables.get(variable):
            given[name] = variables[variable]
    values: dict[str, Any] = {}
    for name, (field, read) in _READ.items():
        if name in given:
            values[field] = _value(name, given[name], read)
    for name in ("pointer", "store", "decisions", "public_key"):
        if not values.get(name):
            raise ConfigError("is not named", where=f"--{name.replace('_', '-')}", todo=_WANTED[name])
    values.setdefault("audit", values["decisions"])
    values.setdefault("log_format", "text" if sys.stderr.isatty() else "json")
    if values.get("trust_network") and not asked:
        values.pop("keys", None)
        values["no_keys"] = True
    options = Options(**values)
    _check_keys(options)
    return options


def _check_keys(options: Options) -> None:
    if options.no_keys and options.keys:
        raise ConfigError("both --keys and --no-keys", todo="name one of the two")
    local = _LOOPBACK.fullmatch(options.host)
    if options.no_keys and not local and not options.trust_network:
        raise ConfigError(
            f"--no-keys lets everybody in who reaches {options.host}",
            where="--host",
            todo="name a file of keys with --keys, serve on 127.0.0.1, or say --trust-network",
        )
    if options.keys is None and not options.no_keys:
        raise ConfigError(
            "nothing says who may ask",
            where="--keys",
            todo="make a key with `mlops keys create` and name its file with --keys"
            + (", or say --no-keys, as only this machine reaches it" if local else ""),
        )


_WANTED = {
    "pointer": "it is deployments/current.json, which promotion writes",
    "store": "name a folder or redis://host:port",
    "decisions": "name a folder for the decision and label logs",
    "public_key": "name the PEM file that bundles are verified with",
}


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


_READ: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "pointer": ("pointer", _path),
    "store": ("store", str),
    "decisions": ("decisions", _path),
    "public_key": ("public_key", _path),
    "audit": ("audit", _path),
    "host": ("host", str),
    "port": ("port", _whole(0, 65535)),
    "poll_seconds": ("poll_seconds", _number(0.01, 3600)),
    "workers": ("workers", _whole(1, 256)),
    "keys": ("keys", _path),
    "no_keys": ("no_keys", _flag),
    "trust_network": ("trust_network", _flag),
    "queue": ("queue", _whole(1, 1_000_000)),
    "timeout_seconds": ("timeout_seconds", _number(0.01, 3600)),
    "idle_seconds": ("idle_seconds", _number(0.01, 86_400)),
    "max_body_mb": ("max_body_bytes", _bytes(0.001, 1024)),
    "drain_seconds": ("drain_seconds", _number(0, 3600)),
    "grace_seconds": ("grace_seconds", _number(0, 3600)),
    "fsync": ("fsync", _flag),
    "rotate_mb": ("rotate_bytes", _bytes(0.001, 1_000_000)),
    "rotate_minutes": ("rotate_seconds", _number(0.001, 1_000_000, 60.0)),
    "max_future_hours": ("max_future_seconds", _number(0, 1_000_000, 3600.0)),
    "log_format": ("log_format", _format),
}
"""By the option's name: the field, and what reads it."""


def _value(name: str, text: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(text)
    except ValueError:
        what = name.removesuffix("_seconds").removesuffix("_mb").replace("_", " ")
        raise ConfigError(
            f"{text} is not a {what}" if name == "port" else f"{text!r} does not fit",
            where=f"--{name.replace('_', '-')}",
            todo=f"name {read.__doc__}",
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Score raw events over HTTP.",
        epilog=f"Each option can be given as a variable, too: --port as {PREFIX}PORT; --store as {STORE}.",
    )
    add = parser.add_argument
    add("--pointer", help="the deployment file to follow")
    add(
        "--store", help=f"the online store: a folder or redis://host:port; with a password better as ${STORE}"
    )
    add("--decisions", help="folder of the decision and label logs")
    add("--public-key", help="PEM file that verifies bundles")
    add("--audit", help="folder of the log of administrative calls (that of the decisions)")
    add("--host", help="(127.0.0.1)")
    add("--port", help="0 picks a free one (8080)")
    add("--workers", help="processes that answer (1)")
    add("--keys", help="file of API keys, as `mlops keys create` makes it")
    add("--no-keys", action="store_true", default=None, help="ask for no keys; on loopback only")
    add(
        "--trust-network",
        action="store_true",
        default=None,
        help="ask for no keys on any address, as a gateway before it does",
    )
    add("--poll-seconds", help="how often the pointer is looked at (0.5)")
    add("--queue", help="events that may wait in a worker; more are refused with 503 (128)")
    add("--timeout-seconds", help="within which a request must be whole (10)")
    add("--idle-seconds", help="how long a connection may say nothing (65)")
    add("--max-body-mb", help="(8)")
    add("--drain-seconds", help="how long it goes on accepting after SIGTERM, no longer ready (0.5)")
    add("--grace-seconds", help="what is in hand gets after that (10)")
    add("--fsync", action="store_true", default=None, help="answer when the disk has the decision")
    add("--rotate-mb", help="size at which a log file is closed (64)")
    add("--rotate-minutes", help="age at which a log file is closed (60)")
    add("--max-future-hours", help="how far after now an event may be; 0 for any (24)")
    add("--log-format", help="json or text (text on a terminal, else json)")
    return parser
