"""Files that are there whole or not at all: written aside, then renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from mlops.errors import ConfigError, InputError, SetupError

__all__ = ["is_leftover", "local_path", "publish_dir", "read_json", "replace_file", "write_json"]

T = TypeVar("T")
_ASIDE = ".tmp-"
_ABANDONED_S = 3600.0  # a running writer has touched its folder since


def _aside(target: Path) -> Path:
    return target.with_name(f"{_ASIDE}{target.name}-{uuid.uuid4().hex[:8]}")


def is_leftover(path: Path) -> bool:
    """Whether `path` is what an interrupted writer left behind."""
    return path.name.startswith(_ASIDE)


@contextmanager
def _no_space(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(
                "no space left on the device", where=target, todo="free some and run again"
            ) from error
        raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replace_file(target: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `target` when the block ends well, and vanishes when it does not.

    Raises:
        SetupError: the device is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _aside(target)
    try:
        with _no_space(target):
            yield temporary
            _flush(temporary)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publish_dir(target: Path) -> Iterator[Path]:
    """Yield an empty folder; it replaces `target` when the block ends well, and vanishes when it does not.

    Replacing takes two renames, as a folder cannot be renamed over a full one. In the moment between them there is no
    `target`; a process killed there leaves the old folder and the new one aside, both whole. What killed writers of
    `target` left aside is removed when it is next replaced, once nothing in it was touched for an hour.

    Raises:
        SetupError: the device is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # else what lies aside may be all that there is
        _sweep(target)
    temporary = _aside(target)
    temporary.mkdir()
    try:
        with _no_space(target):
            yield temporary
            if target.exists():
                old = _aside(target)
                os.rename(target, old)
                os.rename(temporary, target)
                shutil.rmtree(old, ignore_errors=True)  # another writer may sweep it
            else:
                os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(target: Path) -> None:
    ours = re.compile(re.escape(f"{_ASIDE}{target.name}-") + "[0-9a-f]{8}")
    for path in target.parent.iterdir():
        if ours.fullmatch(path.name) and path.is_dir() and time.time() - _touched(path) > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


def _touched(folder: Path) -> float:
    """When anything in `folder` was last written."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            latest = max(latest, path.lstat().st_mtime)
    return latest


def local_path(uri: str, *, base: Path) -> Path:
    """The path that a URI names: a `file://` URI, an absolute path, or a path from `base`.

    Raises:
        ConfigError: the URI has another scheme.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri):
        return base / uri
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigError("only local folders can be read", where=uri, todo="mount it on this machine")
    return Path(unquote(parts.path))


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with replace_file(target) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_json(path: Path, type_: type[T]) -> T:
    """Read JSON as `type_`.

    Raises:
        InputError: the file is missing, or does not hold what it should.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except msgspec.DecodeError as error:
        raise InputError(f"not a valid {type_.__name__}: {error}", where=path) from None
