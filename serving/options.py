"""What the server is told: on its command line, or for each option by a variable `MLOPS_SERVING_<NAME>`."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import unquote, urlsplit

import msgspec

from mlops.errors import ConfigError
from serving.option_table import OPTIONS, PREFIX, STORE, Option

__all__ = ["Options", "check_keys", "options_of", "read_options"]

_PROG = "python -m serving"
_LOOPBACK = re.compile(r"127(\.\d+){3}|::1|localhost")
_STORES = ("", "file", "redis", "rediss", "unix", "memory")
"""Schemes of the URIs that `serving.stores` knows."""

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

    @property
    def store_folder(self) -> Path | None:
        """Where the store is, if it is a folder of this machine."""
        parts = urlsplit(self.store)
        if parts.scheme not in ("", "file"):
            return None
        return Path(unquote(parts.path) if parts.scheme else self.store)

    def to_json(self) -> bytes:
        """For a worker."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, data: bytes) -> Options:
        """What `to_json` gave."""
        return msgspec.json.decode(data, type=cls, dec_hook=lambda type_, value: type_(value))


def options_of(
    arguments: Sequence[str] | None = None, env: Mapping[str, str] | None = None, *, prog: str = _PROG
) -> Options:
    """The options of a command line, this process's if none is given; what it leaves out is looked for in `env`.

    Args:
        prog: what the command is called in its help.

    Raises:
        ConfigError: a value that does not fit, an option or a variable that there is not, or too little was said.
        SystemExit: the command line asks for help.
    """
    options = read_options(arguments, env, prog=prog)
    check_keys(options)
    return options


def read_options(
    arguments: Sequence[str] | None = None, env: Mapping[str, str] | None = None, *, prog: str = _PROG
) -> Options:
    """The same, before anybody has asked whether keys are asked for."""
    variables = os.environ if env is None else env
    parsed = vars(_parser(prog).parse_args(arguments))
    _check_names(variables)
    values: dict[str, Any] = {}
    keys_are_said = parsed["keys"] is not None or parsed["no_keys"] is not None
    for option in OPTIONS:
        if (said := parsed[option.name]) is not None:
            values[option.field] = _value(option, said, option.argument)
        elif variables.get(option.variable) and not (keys_are_said and option.name in ("keys", "no_keys")):
            values[option.field] = _value(option, variables[option.variable], option.variable)
    for name in ("pointer", "store", "decisions", "public_key"):
        if not values.get(name):
            raise ConfigError("is not named", where=f"--{name.replace('_', '-')}", todo=_WANTED[name])
    _check_store(values["store"])
    values.setdefault("audit", values["decisions"])
    values.setdefault("log_format", "text" if sys.stderr.isatty() else "json")
    if values.get("trust_network") and not keys_are_said:
        values.pop("keys", None)
        values["no_keys"] = True
    return Options(**values)


def _check_names(variables: Mapping[str, str]) -> None:
    """Refuse a variable that no option has: it is one that was misspelt."""
    known = {option.name.upper(): option.variable for option in OPTIONS}
    for variable in sorted(variables):
        name = variable.removeprefix(PREFIX)
        if name == variable or variable in known.values():
            continue
        if f"{PREFIX}SERVICE_HOST" in variables:
            todo = "Kubernetes sets it for a Service named mlops-serving: say enableServiceLinks: false in the pod"
        elif near := difflib.get_close_matches(name.upper(), known, n=1):
            todo = f"did you mean {known[near[0]]}?"
        else:
            todo = f"`{_PROG} --help` lists the options"
        raise ConfigError("no such variable", where=variable, todo=todo)


def _check_store(uri: str) -> None:
    """Refuse a store that there never will be. Whether this one can be used is seen when it is."""
    try:
        parts = urlsplit(uri)
        scheme, _ = parts.scheme, parts.port
    except ValueError:  # whose words may be some of a password
        todo = "percent-encode what is special in a password, such as / and @"
        raise ConfigError("is no URI", where="--store", todo=f"{_WANTED['store']}; {todo}") from None
    if scheme not in _STORES:
        raise ConfigError(f"no store is of the kind {scheme}:", where="--store", todo=_WANTED["store"])


def check_keys(options: Options) -> None:
    """Refuse what does not say who may ask, or lets in everybody from everywhere.

    Raises:
        ConfigError: so it is.
    """
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
            todo="make a key with `mlops keys create` and say --keys FILE"
            + (", or say --no-keys, as only this machine reaches it" if local else ""),
        )


_WANTED = {
    "pointer": "it is deployments/current.json, which promotion writes",
    "store": "name a folder or redis://host:port",
    "decisions": "name a folder for the decision and label logs",
    "public_key": "name the PEM file that bundles are verified with",
}


def _value(option: Option, text: Any, where: str) -> Any:
    try:
        return option.read(text)
    except ValueError:
        what = f"{text} is not a port" if option.name == "port" else f"{text!r} does not fit"
        raise ConfigError(what, where=where, todo=f"name {option.read.__doc__}") from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, where=self.prog, todo="--help lists the options")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        allow_abbrev=False,
        description="Score raw events over HTTP.",
        epilog=f"Each option can be given as a variable, too: --port as {PREFIX}PORT; --store as {STORE}.",
    )
    for option in OPTIONS:
        help_ = f"{option.help} ({option.usual})" if option.usual else option.help
        if option.flag:
            parser.add_argument(option.argument, action="store_true", default=None, help=help_)
        else:
            parser.add_argument(option.argument, help=help_)
    return parser
