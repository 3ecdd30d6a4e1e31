"""API keys of the scoring service: who may do what, how often and until when. A file holds the SHA-256 of each key.

A key is 256 random bits, so its plain SHA-256 is enough at rest: there is nothing to guess that salting or a slow hash
would protect, as they do for passwords. It is shown once, when it is made, and can be replaced but never read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from mlops.errors import ConfigError
from mlops.given import read_given
from mlops.storage import one_writer, replace_file

__all__ = [
    "API_KEYS",
    "SCOPES",
    "ApiKey",
    "Scope",
    "create_key",
    "load_keys",
    "parse_keys",
    "read_keys",
    "revoke_key",
]

Scope = Literal["score", "labels", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a key may be allowed to do: score events; bring labels; administer the server."""

API_KEYS = "api-keys.json"
"""What the file is called where nobody says otherwise."""

MOST_KEYS = 1024
_PREFIX = "mlk_"  # so that scanners for leaked secrets can be taught to find one
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Name = Annotated[str, msgspec.Meta(pattern=_NAME)]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, without the key.

    Fields:
        name: who holds it, as logs and decisions say it.
        sha256: of the whole key, in hexadecimal digits.
        rate_per_second: how many requests are answered in the long run; None for any number.
        burst: how many are answered at once after a pause, where there is a rate.
        expires_at: from when on it is refused; None for never.
    """

    name: Name
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    rate_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    burst: Annotated[int, msgspec.Meta(ge=1, le=10**6)] = 1
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keys: tuple[ApiKey, ...]


def create_key(
    path: Path,
    name: str,
    scopes: Sequence[Scope],
    *,
    rate_per_second: float | None = None,
    burst: int | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a key, add it to the file, which is made if there is none, and return it: it is kept nowhere.

    Args:
        burst: without one, what the rate allows in a second.

    Raises:
        ConfigError: there is a key of that name, or something about it makes no sense.
    """
    if burst is not None and rate_per_second is None:
        raise ConfigError("has a burst without a rate", where=f"key {name}", todo="give both, or the rate")
    if not re.match(_NAME, name):
        raise ConfigError(
            "not a name of a key",
            where=repr(name),
            todo="use at most 64 letters, digits, dots, hyphens and underscores, a letter or digit first",
        )
    key = _PREFIX + secrets.token_urlsafe(32)
    entry = {
        "name": name,
        "scopes": tuple(dict.fromkeys(scopes)),
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "rate_per_second": rate_per_second,
        "burst": max(1, round(rate_per_second or 1)) if burst is None else burst,
        "expires_at": expires_at,
        "created_at": datetime.now(UTC).replace(microsecond=0),
    }
    try:
        added = msgspec.convert(entry, ApiKey)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where=f"key {name}") from None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with one_writer(path.parent):
        there = load_keys(path) if path.exists() else ()
        if any(known.name == name for known in there):
            raise ConfigError(
                "there is a key of that name",
                where=path,
                todo=f"take another, such as {name}-2, and revoke this one when nobody uses it",
            )
        _write(path, (*there, added))
    return key


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of the file; running servers follow within a second.

    Raises:
        ConfigError: there is no key of that name, or no such file.
    """
    load_keys(path)  # before its folder is locked, which would make one
    with one_writer(path.parent):
        there = load_keys(path)
        if all(known.name != name for known in there):
            names = ", ".join(sorted(known.name for known in there)) or "none"
            raise ConfigError(f"no key {name!r}", where=path, todo=f"there are: {names}")
        _write(path, tuple(known for known in there if known.name != name))


def load_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a file.

    Raises:
        ConfigError: it cannot be read, or does not hold what it should.
    """
    return parse_keys(read_keys(path), path)


def read_keys(path: Path) -> bytes:
    """What stands in a file.

    Raises:
        ConfigError: it cannot be read.
    """
    return read_given(path, "file of API keys", todo="make one: mlops keys create")


def parse_keys(data: bytes, where: Path) -> tuple[ApiKey, ...]:
    """The keys in the bytes of a file.

    Raises:
        ConfigError: they are not what they should be; a key that somebody wrote there by mistake is not repeated.
    """
    try:
        keys = msgspec.json.decode(data, type=_File).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = re.sub(_PREFIX + r"[\w-]*", _PREFIX + "…", str(error))
        raise ConfigError(f"not a file of API keys: {said}", where=where) from None
    for part in ("name", "sha256"):
        seen = [getattr(key, part) for key in keys]
        if len(set(seen)) < len(seen):
            raise ConfigError(f"two keys have one {part}", where=where, todo="revoke one of them")
    if len(keys) > MOST_KEYS:
        raise ConfigError(f"{len(keys):,} keys, more than {MOST_KEYS:,}", where=where)
    return keys


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    """Replace the file: its owner's only where it is new; else with the mode and group that it had."""
    old = path.stat() if path.exists() else None
    with replace_file(path) as aside:
        aside.touch(mode=0o600)
        if old is not None:
            with suppress(PermissionError):
                os.chown(aside, old.st_uid, old.st_gid)
            aside.chmod(old.st_mode & 0o777)
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(_File(keys=keys)), indent=2) + b"\n")
