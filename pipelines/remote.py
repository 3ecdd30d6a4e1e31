"""Places in other file systems, such as s3://bucket/raw: any URI that fsspec has a driver for.

Where a server is and who asks comes from where the driver always takes it: for S3 the usual AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_DEFAULT_REGION or ~/.aws; for all drivers FSSPEC_* variables
and ~/.config/fsspec. None of it is printed.
"""

from __future__ import annotations

import errno
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import msgspec
from fsspec.asyn import AsyncFileSystem

from mlops.errors import ConfigError, InputError, SetupError
from pipelines.progress import say

__all__ = ["Remote", "copy_here", "copy_there", "open_remote", "remote_errors", "shown"]

_AT_ONCE = 16  # files in flight, and between two words on how far it is
_LISTING_S = 30
# A server that is silent is given up after about a minute, one that is not there after seconds.
_PATIENCE = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
}
_S3_ATTEMPTS = 2
_CHECK = "check the endpoint (for S3 AWS_ENDPOINT_URL) and the network, and run again"


class Remote(msgspec.Struct, frozen=True):
    """A place in a remote file system: `uri` as it may be shown, `path` as the driver takes it."""

    fs: Any
    path: str
    uri: str

    def files(self) -> dict[str, int]:
        """The size in bytes of every file under the path, by its path from there; "" where the path is a file.

        Raises:
            SetupError: see `remote_errors`.
        """
        bounded = {"timeout": _LISTING_S} if isinstance(self.fs, AsyncFileSystem) else {}
        with remote_errors(self.uri):
            try:
                found = self.fs.find(self.path, detail=True, **bounded)
            except FileNotFoundError:
                return {}
        root = self.path.rstrip("/")
        return {
            name[len(root) :].lstrip("/"): int(info.get("size") or 0)
            for name, info in found.items()
            if info["type"] == "file" and not name.endswith("/")
        }

    def at(self, name: str) -> str:
        """The driver's path of a file under this place."""
        return f"{self.path.rstrip('/')}/{name}" if name else self.path


def shown(uri: str) -> str:
    """The URI without what may be secret: a user's password, and the query that signs a link."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", re.sub(r"\?[^\s\"']*", "", uri))


def open_remote(uri: str) -> Remote:
    """The place that a URI names; no server is asked yet.

    Raises:
        ConfigError: there is no driver for the scheme.
        SetupError: the driver's package is not installed.
    """
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    scheme = uri.partition(":")[0].lower()
    if scheme in ("s3", "s3a") and "config_kwargs" not in fsspec.config.conf.get("s3", {}):
        options["config_kwargs"] = _PATIENCE
    try:
        fs, path = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        package = "s3fs (the extra `cloud`)" if scheme in ("s3", "s3a") else "it"
        raise SetupError(
            f"the driver for {scheme}:// is not installed: {error}",
            where=shown(uri),
            todo=f"install {package} into this environment",
        ) from None
    except ValueError:
        raise ConfigError(
            f"no driver for {scheme}://",
            where=shown(uri),
            todo="s3:// needs s3fs, gs:// gcsfs, abfs:// adlfs, https:// aiohttp; a path needs nothing",
        ) from None
    if scheme in ("s3", "s3a"):
        fs.retries = _S3_ATTEMPTS
    if not path.strip("/") or ".." in path.split("/"):
        raise ConfigError("names no bucket or folder", where=shown(uri))
    return Remote(fs, path, shown(uri))


def _of_the_transport() -> tuple[type[BaseException], ...]:
    """What drivers raise for a server that fails; only drivers that are loaded can have raised it."""
    kinds: list[type[BaseException]] = [OSError]
    if (botocore := sys.modules.get("botocore.exceptions")) is not None:
        kinds += [botocore.BotoCoreError, botocore.ClientError]
    if (aiohttp := sys.modules.get("aiohttp")) is not None:
        kinds.append(aiohttp.ClientError)
    return tuple(kinds)


@contextmanager
def remote_errors(uri: str) -> Iterator[None]:
    """Turn what a driver raises into one of the platform's errors.

    Raises:
        FileNotFoundError: there is no such bucket or key; whoever asks knows what that means.
        ConfigError: an endpoint or an option that the driver cannot use.
        SetupError: no permission, no credentials, no server, or it stopped answering.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise SetupError(
            f"no permission: {_words(error)}",
            where=uri,
            todo="check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE …) and what they may do",
        ) from None
    except TimeoutError:
        raise SetupError("the storage does not answer in time", where=uri, todo=_CHECK) from None
    except ValueError as error:
        raise ConfigError(f"the driver takes no such setting: {_words(error)}", where=uri) from None
    except _of_the_transport() as error:
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            raise SetupError(
                "no credentials found",
                where=uri,
                todo="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            ) from None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise SetupError(
                "no space left on the device", where=error.filename, todo="free some and run again"
            ) from None
        raise SetupError(
            f"the storage does not answer as it should: {_words(error)}",
            where=uri,
            todo=_CHECK,
        ) from None


def _words(error: BaseException) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return shown(text).rstrip(".")[:300]


def copy_here(remote: Remote, sizes: dict[str, int], targets: dict[str, Path]) -> None:
    """Copy the files named in `sizes` (name → bytes) from `remote` to their `targets`.

    Raises:
        FileNotFoundError: one is gone.
        InputError: a name leads out of the folder.
        SetupError: the device is too full, or see `remote_errors`.
    """
    for name in targets:
        if ".." in name.split("/") or "\0" in name:
            raise InputError(f"cannot be a file's name here: {name!r}", where=remote.uri)
    if not targets:
        return
    needed = sum(sizes[name] for name in targets)
    place = next(iter(targets.values())).parent
    while not place.exists():
        place = place.parent
    if needed > (free := shutil.disk_usage(place).free):
        raise SetupError(
            f"needs {_megabytes(needed)} here, and {_megabytes(free)} are free in {place}",
            where=remote.uri,
            todo="free some, or let TMPDIR name a folder with more room",
        )
    for target in targets.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    for names in _batches(list(targets)):
        say(f"fetched {_megabytes(done)} of {_megabytes(needed)}")
        with remote_errors(remote.uri):
            remote.fs.get([remote.at(name) for name in names], [str(targets[name]) for name in names])
        done += sum(sizes[name] for name in names)


def copy_there(remote: Remote, sources: dict[str, Path]) -> None:
    """Copy local files to their names under `remote`.

    Raises:
        SetupError: there is no such bucket, or see `remote_errors`.
    """
    needed, done = sum(path.stat().st_size for path in sources.values()), 0
    for names in _batches(list(sources)):
        say(f"sent {_megabytes(done)} of {_megabytes(needed)}")
        with remote_errors(remote.uri):
            try:
                remote.fs.put([str(sources[name]) for name in names], [remote.at(name) for name in names])
            except FileNotFoundError:
                raise SetupError("no such bucket", where=remote.uri, todo="make it first") from None
        done += sum(sources[name].stat().st_size for name in names)


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
