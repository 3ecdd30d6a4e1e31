"""Files that are there whole or not at all: written aside, then renamed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from mlops.errors import ConfigError, InputError, SetupError

__all__ = [
    "aside",
    "bring_back",
    "check_replaceable",
    "is_leftover",
    "is_remote",
    "local_path",
    "one_writer",
    "publish_dir",
    "read_json",
    "replace_file",
    "write_json",
]

T = TypeVar("T")
_ASIDE = ".tmp-"
_OLD = "-old"
_ABANDONED_S = 3600.0  # a running writer has touched its folder since
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux' renameat2


def aside(target: Path) -> Path:
    """A name beside `target` that nobody else uses, for what is to be renamed to it.

    Raises:
        ConfigError: `target` is the folder that this process is in, or one above it.
    """
    if target.name in ("", ".."):
        raise ConfigError("cannot be replaced from within", where=target, todo="name a file or folder in it")
    return target.with_name(f"{_ASIDE}{target.name}-{uuid.uuid4().hex[:8]}")


def is_leftover(path: Path) -> bool:
    """Whether `path` is what an interrupted writer left behind."""
    return path.name.startswith(_ASIDE)


def check_replaceable(out: Path, ours: Callable[[set[str]], set[str]]) -> None:
    """Raise where `publish_dir` would replace something else than what an earlier run wrote.

    Args:
        ours: of the names in the folder those that such a run wrote.

    Raises:
        InputError: `out` is a file, or a folder that holds other files.
    """
    if out.is_dir():
        names = {path.name for path in out.iterdir() if not is_leftover(path)}
        if foreign := sorted(names - ours(names)):
            raise InputError(
                f"would be replaced, but holds {foreign[0]}", where=out, todo="name a new folder"
            )
    elif out.exists():
        raise InputError("is not a folder", where=out, todo="name a new folder")


@contextmanager
def _errors_of(target: Path, temporary: Path) -> Iterator[None]:
    """Name in errors the place that was asked for, not the one aside."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(
                "no space left on the device", where=target, todo="free some and run again"
            ) from error
        here = Path(error.filename).absolute() if isinstance(error.filename, str) else Path()
        if here.is_relative_to(temporary.absolute()):
            asked = target / here.relative_to(temporary.absolute())
            raise OSError(error.errno, error.strerror, str(asked)) from error
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
        ConfigError: see `aside`.
        SetupError: the device is full.
    """
    temporary = aside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _errors_of(target, temporary):
            yield temporary
            _flush(temporary)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publish_dir(target: Path) -> Iterator[Path]:
    """Yield an empty folder; it replaces `target` when the block ends well, and vanishes when it does not.

    A process killed anywhere leaves the old folder or the new one, whole, where the file system can exchange two
    folders, as Linux' own do. Elsewhere replacing takes two renames: what a process killed between them leaves is
    mended by `bring_back`. What killed writers of `target` left aside is removed when it is next replaced, once
    nothing in it was touched for an hour; what was left `aside` in the new folder itself is not published.

    Raises:
        ConfigError: see `aside`.
        SetupError: the device is full.
    """
    temporary = aside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    bring_back(target)
    if target.exists():  # else what lies aside may be all that there is
        _sweep(target)
    try:
        with _errors_of(target, temporary):
            temporary.mkdir()
            yield temporary
            for path in temporary.rglob(f"{_ASIDE}*"):  # of a task that was killed and tried again
                path.unlink(missing_ok=True)
            if not target.exists():
                os.rename(temporary, target)
            elif not _exchange(temporary, target):
                old = temporary.with_name(temporary.name + _OLD)
                os.rename(target, old)
                os.rename(temporary, target)
                shutil.rmtree(old, ignore_errors=True)  # another writer may sweep it
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def bring_back(target: Path) -> None:
    """Put a folder in its place again whose writer was killed between taking the old one away and putting the new."""
    if not target.exists() and (olds := [p for p in _leftovers(target) if p.name.endswith(_OLD)]):
        os.rename(max(olds, key=_touched), target)


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Keep others of its callers, in this process or another, waiting until the block ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not Linux
        return False
    return bool(renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _leftovers(target: Path) -> list[Path]:
    ours = re.compile(re.escape(f"{_ASIDE}{target.name}-") + f"[0-9a-f]{{8}}({_OLD})?")
    return [path for path in target.parent.iterdir() if ours.fullmatch(path.name) and path.is_dir()]


def _sweep(target: Path) -> None:
    for path in _leftovers(target):
        if time.time() - _touched(path) > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


def _touched(folder: Path) -> float:
    """When anything in `folder` was last written."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            latest = max(latest, path.lstat().st_mtime)
    return latest


def is_remote(uri: str | Path) -> bool:
    """Whether this is a URI of another scheme than file, such as s3://bucket/events."""
    return isinstance(uri, str) and "://" in uri and not uri.startswith("file:")


def local_path(uri: str, *, base: Path) -> Path:
    """The path that a URI names: a `file://` URI, an absolute path, or a path from `base`.

    Raises:
        ConfigError: the URI has another scheme, names no path, or is none.
    """
    if "\0" in unquote(uri):
        raise ConfigError("a path has no null byte", where=repr(uri))
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri):
        return base / uri
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ConfigError(f"is no URI: {error}", where=repr(uri)) from None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigError("only local folders can be read", where=uri, todo="mount it on this machine")
    return Path(unquote(parts.path))


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; paths as text."""
    with replace_file(target) as temporary:
        encoded = msgspec.json.encode(value, enc_hook=_path_as_text)
        temporary.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")


def read_json(path: Path, type_: type[T]) -> T:
    """Read JSON as `type_`.

    Raises:
        InputError: the file is missing, or does not hold what it should.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_, dec_hook=_path_of_text)
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not a valid {type_.__name__}: {error}", where=path) from None


def _path_as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _path_of_text(type_: type, value: Any) -> Any:
    if issubclass(type_, Path):
        return type_(value)  # what cannot be one is refused as any value of a wrong type
    raise NotImplementedError(f"{type_.__name__} has no form in JSON")
