"""Sources and targets that may lie elsewhere, staged: copied here to be read, written here and then copied there.

Every step works on local folders. Spark with connectors of its own is not asked to read or write remote files, so one
driver, one set of credentials and one kind of error serve all steps. A cluster whose Spark should reach the storage
itself is given paths that its machines mount.

Object storage replaces one object at a time, never a folder. So a table there is what its manifest lists: every file
has a name with a digest of its content in it and is never overwritten, and writing the manifest, one small object, is
the moment in which the new version is there. An upload that was interrupted before leaves the old version whole; what
it left, and files that only the old version had, are removed by the next upload that ends well. A reader that is
overtaken starts again with the new version. Who lists the folder instead of reading `_manifest.json` may see files of
two versions. Two writers of one table must not overlap: nothing there would stop them, and the last one wins.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from mlops.errors import InputError
from mlops.storage import is_remote, local_path, publish_dir, write_json
from pipelines.links import link_or_copy
from pipelines.remote import Remote, copy_here, copy_there, open_remote, remote_errors
from pipelines.unpacked import is_hidden, naming, unpacked

__all__ = ["MANIFEST", "current", "delivered", "fetched", "published"]

MANIFEST = "_manifest.json"
_KEY = re.compile(r"-[0-9a-f]{16}(\.[^/]*)?$")
_TRIES = 3


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of a table: its files by their local names, and where they are."""

    files: dict[str, _Part]

    def __post_init__(self) -> None:
        for name in self.files:
            if not name or name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"no name for a file of a table: {name!r}")

    @property
    def keys(self) -> set[str]:
        return {part.key for part in self.files.values()}


@contextmanager
def fetched(source: str | Path, encoding: str = "") -> Iterator[Path]:
    """Yield a local path of what `source` names: a path as it is, a remote file or folder as a copy for this block.

    What Spark cannot open as it is, is unpacked in a copy (see `unpacked`). Copies lie in the system's temporary
    folder, which TMPDIR names. Files whose name starts with a dot or an underscore are not copied, as readers pass
    over them; of what `delivered` wrote, the current version is. Errors that name a copy name what it was made of.

    Args:
        encoding: that of text; UTF-8 unless given.

    Raises:
        InputError: there is no such file or folder, or an archive is damaged.
        ConfigError: there is no driver for the scheme, or no such encoding.
        SetupError: the server cannot be reached or refuses, or the device is too full.
    """
    if not is_remote(source):
        with unpacked(_local(source), encoding) as path:
            yield path
        return
    remote = open_remote(str(source))
    sizes = {name: size for name, size in remote.files().items() if not is_hidden(PurePosixPath(name))}
    names = {name: name for name in sizes}
    if (manifest := _read_manifest(remote)) is not None:
        listed = {
            part.key: name for name, part in manifest.files.items() if not is_hidden(PurePosixPath(name))
        }
        names = {key: listed.get(key, key) for key in sizes if key in listed or not _KEY.search(key)}
    if not names:
        raise InputError("no such bucket, or no file there", where=remote.uri)
    parent, _, last = remote.uri.rstrip("/").rpartition("/")
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder, naming(Path(folder), parent):
        target = Path(folder) / last
        try:
            copy_here(remote, sizes, {key: target / name if name else target for key, name in names.items()})
        except FileNotFoundError:
            raise InputError("a file went away while it was fetched", where=remote.uri) from None
        with unpacked(target, encoding) as path:
            yield path


@contextmanager
def delivered(target: str | Path) -> Iterator[Path]:
    """Yield the folder to write `target` in: the folder itself, or a temporary one that is then uploaded.

    Raises:
        InputError: other files lie there.
        ConfigError, SetupError: as `fetched`.
    """
    if not is_remote(target):
        yield _local(target)
        return
    remote = open_remote(str(target))
    before = _read_manifest(remote)
    if before is None:
        _refuse_others(remote)
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        path = Path(folder) / (remote.path.rstrip("/").rpartition("/")[2] or "out")
        yield path
        _upload(path, remote, before)


def current(folder: Path, uri: str) -> Path:
    """The table's local `folder`, brought to the version at `uri`, which is the truth; without a remote one as it is.

    Files that are there already are not copied again.

    Raises:
        InputError: there is no table at `uri`, or a file of it is not what its manifest says.
        ConfigError, SetupError: as `fetched`.
    """
    if is_remote(uri) and _brought(folder, remote := open_remote(uri)) is None:
        raise InputError("no table there", where=remote.uri, todo="write one: mlops validate, mlops features")
    return folder


@contextmanager
def published(folder: Path, uri: str) -> Iterator[Path]:
    """Yield the table's local `folder` as the version at `uri`; what is written into it is uploaded at the end.

    Without a remote URI the folder is all there is. The first version needs no earlier one.

    Raises:
        InputError: other files lie there, or see `current`.
        ConfigError, SetupError: as `fetched`. The table in `folder` is whole then, but the next step goes back to the
            version at `uri`.
    """
    if not is_remote(uri):
        yield folder
        return
    remote = open_remote(uri)
    before = _brought(folder, remote)
    if before is None:
        _refuse_others(remote)
    yield folder
    write_json(folder / MANIFEST, _upload(folder, remote, before))


def _local(path: str | Path) -> Path:
    return local_path(path, base=Path()) if isinstance(path, str) and path.startswith("file:") else Path(path)


def _read_manifest(remote: Remote) -> _Manifest | None:
    try:
        with remote_errors(remote.uri):
            content = remote.fs.cat_file(remote.at(MANIFEST))
        return msgspec.json.decode(content, type=_Manifest)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise InputError(f"not a valid manifest: {error}", where=f"{remote.uri}/{MANIFEST}") from None


def _refuse_others(remote: Remote) -> None:
    """Raise where files lie that no upload of ours left."""
    if others := [name for name in remote.files() if not _KEY.search(name)]:
        raise InputError(
            f"holds other files, such as {others[0] or 'a file of that name'}",
            where=remote.uri,
            todo="name a folder that is empty or was written by mlops",
        )


def _brought(folder: Path, remote: Remote) -> _Manifest | None:
    """The version there, brought to `folder`; None where there is none."""
    for tries_left in reversed(range(_TRIES)):
        if (manifest := _read_manifest(remote)) is None:
            return None
        try:
            _bring(folder, remote, manifest)
        except FileNotFoundError:  # a new version was published meanwhile
            if not tries_left:
                raise InputError("its manifest lists a file that is gone", where=remote.uri) from None
        else:
            return manifest
    return None


def _upload(folder: Path, remote: Remote, before: _Manifest | None) -> _Manifest:
    files = {}
    for name, path in _files(folder).items():
        digest = _sha256(path)
        key = PurePosixPath(name).with_name(f"{path.stem}-{digest[:16]}{path.suffix}").as_posix()
        files[name] = _Part(key, path.stat().st_size, digest)
    manifest = _Manifest(files)
    there = before.keys if before else set()
    copy_there(remote, {part.key: folder / name for name, part in files.items() if part.key not in there})
    with remote_errors(remote.uri):
        remote.fs.pipe_file(remote.at(MANIFEST), msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    stale = [name for name in remote.files() if _KEY.search(name) and name not in manifest.keys]
    if stale:
        with remote_errors(remote.uri):
            remote.fs.rm([remote.at(name) for name in stale])
    return manifest


def _bring(folder: Path, remote: Remote, manifest: _Manifest) -> None:
    if _version_here(folder) == manifest:
        return
    here = {name: _sha256(path) for name, path in _files(folder).items()}
    missing = {part.key: name for name, part in manifest.files.items() if here.get(name) != part.sha256}
    with publish_dir(folder) as aside:
        sizes = {manifest.files[name].key: manifest.files[name].bytes for name in missing.values()}
        copy_here(remote, sizes, {key: aside / name for key, name in missing.items()})
        for key, name in missing.items():
            if _sha256(aside / name) != manifest.files[name].sha256:
                raise InputError("is not what the table's manifest says", where=f"{remote.uri}/{key}")
        for name in manifest.files.keys() - set(missing.values()):
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(folder / name, aside / name)
        write_json(aside / MANIFEST, manifest)


def _version_here(folder: Path) -> _Manifest | None:
    """The version that the local folder was last known to be, if it still has these files in these sizes."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    here = {name: path.stat().st_size for name, path in _files(folder).items()}
    return manifest if here == {name: part.bytes for name, part in manifest.files.items()} else None


def _files(folder: Path) -> dict[str, Path]:
    """The files of a table by their names in it."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if name.name != MANIFEST and not any(part.startswith(".") for part in name.parts)
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
