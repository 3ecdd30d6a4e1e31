"""What an image holds: its files as a container finds them, its configuration, its Python packages."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

from docker.models.images import Image
from packaging.utils import canonicalize_name

from tests.system.containers import engine, ran

__all__ = ["configuration", "files", "installed", "left_over", "rights", "tools"]

COMPILERS = r"cc|c[89]9|c\+\+|cc1(plus)?|collect2|cpp|g\+\+|gcc|clang(\+\+)?|tcc|rustc"
LINKERS = r"as|ld(\.(bfd|gold|lld))?|lld|make"
INSTALLERS = r"pip[0-9.]*|uvx?|easy_install|wheel[0-9.]*"
TOOL = re.compile(rf"([\w.]+-)*({COMPILERS}|{LINKERS})(-[0-9.]+)?|{INSTALLERS}")
INSTALLER = re.compile(r"/(ensurepip|(dist|site)-packages/(pip|setuptools|wheel|uv))$")
LEFT_OVER = re.compile(r"/(var/lib/apt/lists|var/cache|var/log|tmp|root/\.cache|usr/share/(man|doc))/")


def configuration(image: Image) -> dict[str, Any]:
    """How it is run, from the archive that an engine saves: podman's API leaves the health check out."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.save()))) as archive:
        (manifest,) = json.load(_member(archive, "manifest.json"))
        found: dict[str, Any] = json.load(_member(archive, manifest["Config"]))["config"]
    return found


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    assert found is not None
    return found


def files(image: Image) -> dict[str, tarfile.TarInfo]:
    """Every file of the image, by its path, as a container has it before it starts."""
    container = engine().containers.create(image.id)
    try:
        with tarfile.open(fileobj=_Stream(container.export()), mode="r|") as archive:
            return {"/" + member.name.removeprefix("./"): member for member in archive}
    finally:
        container.remove(v=True)


class _Stream(io.RawIOBase):
    """Pieces of bytes, to be read as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._left = iter(pieces), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(self._pieces, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def tools(found: Mapping[str, tarfile.TarInfo]) -> set[str]:
    """Those that compile, link or install packages."""
    return {
        path
        for path, member in found.items()
        if (INSTALLER.search(path) if member.isdir() else path.endswith(".whl"))
        or (TOOL.fullmatch(path.rpartition("/")[2]) and not member.isdir() and member.mode & 0o111)
    }


def rights(found: Mapping[str, tarfile.TarInfo], uid: int) -> tuple[set[str], set[str]]:
    """What runs with its owner's rights or may be written by everybody; and what `uid` or the group 0 may,
    beside that."""
    real = {path: member for path, member in found.items() if member.isfile() or member.isdir()}
    loose = {
        path
        for path, member in real.items()
        if (member.mode & 0o6000 and not member.isdir())
        or (member.mode & 0o002 and not (member.isdir() and member.mode & 0o1000))
    }
    own = {
        path
        for path, member in real.items()
        if (member.uid == uid and member.mode & 0o200)
        or (member.gid == 0 and member.mode & 0o020 and not member.mode & 0o002)
    }
    return loose, own


def left_over(found: Mapping[str, tarfile.TarInfo]) -> set[str]:
    """What an installation leaves behind and nobody reads: lists, caches, logs, pages of manuals."""
    return {
        path
        for path, member in found.items()
        if not member.isdir()
        and LEFT_OVER.match(path)
        and not path.endswith("/copyright")
        and not member.issym()
    }


def installed(image: Image) -> set[str]:
    """The Python packages in it, each with its version, as they say themselves."""
    script = (
        "from importlib.metadata import distributions\n"
        "for one in distributions(): print(one.metadata['Name'], one.version)"
    )
    pairs = (line.split() for line in ran(image, ["python3", "-c", script]).splitlines())
    return {f"{canonicalize_name(name)} {version}" for name, version in pairs}
