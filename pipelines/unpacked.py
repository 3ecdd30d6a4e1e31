"""Files that Spark cannot open as they are: zip, xz and Zstandard archives, and text that is not UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from mlops.errors import ConfigError, InputError, MlopsError

__all__ = ["is_hidden", "naming", "unpacked"]

_ZIP, _PARQUET = b"PK\x03\x04", b"PAR1"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK = 1 << 20


def _open_zstd(path: Path) -> IO[bytes]:
    stream: IO[bytes] = pa.input_stream(str(path), compression="zstd")
    return stream


_FOREIGN: dict[bytes, Callable[[Path], Any]] = {
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"(\xb5/\xfd": _open_zstd,
}
_SPARK_S: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File}
_SUFFIXES = {".xz", ".zst", ".zstd", ".gz", ".bz2", ".zip"}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)


@contextmanager
def naming(copy: Path, original: str) -> Iterator[None]:
    """Let errors that name a file in the folder `copy` name the one that it was made of."""
    try:
        yield
    except MlopsError as error:
        if error.where is not None and error.where.startswith(str(copy)):
            error.where = error.where.replace(str(copy), original, 1)
            error.args = (error.line(),)
        raise


@contextmanager
def unpacked(source: Path, encoding: str = "") -> Iterator[Path]:
    """Yield `source` itself where Spark can open all of it, else a folder for this block in which it can.

    There, archives are unpacked (of a zip, every file in it), and text is UTF-8. Text that begins with the mark of
    UTF-16 is read as that; of other text the encoding is what is said, or UTF-8. What needs nothing is linked to.

    Raises:
        ConfigError: there is no such encoding.
        InputError: an archive is damaged or wants a password, or text is not in the encoding.
    """
    try:
        " ".encode(encoding or "utf-8")  # refuses what encodes no text
        codec = codecs.lookup(encoding or "utf-8").name
    except (LookupError, UnicodeError):
        raise ConfigError(
            f"no such encoding: {encoding}", todo="name one of Python's: latin-1, cp1252 …"
        ) from None
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    paths = [path for path in paths if path == source or not is_hidden(path.relative_to(source))]
    if not any(_needs_work(path, codec) for path in paths):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder, naming(Path(folder), str(source.parent)):
        target = Path(folder) / source.name
        for path in paths:
            copy = target / path.relative_to(source) if path != source else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            if _needs_work(path, codec):
                _unpack(path, copy, codec)
            else:
                copy.symlink_to(path.absolute())
        made = list(Path(folder).iterdir())  # a single file may have lost the suffix of its archive
        yield target if target.exists() else made[0]


def is_hidden(name: PurePath) -> bool:
    """Whether readers pass over the file, because a part of its name starts with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in name.parts if part != "..")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _needs_work(path: Path, codec: str) -> bool:
    head = _head(path)
    text = not head.startswith(_PARQUET)
    return head.startswith((_ZIP, *_FOREIGN, *_UTF16)) or (text and codec != "utf-8")


def _unpack(path: Path, copy: Path, codec: str) -> None:
    try:
        if _head(path).startswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                _unpack_zip(archive, path, copy, codec)
            return
        opener = next(
            (opener for magic, opener in {**_FOREIGN, **_SPARK_S}.items() if _head(path).startswith(magic)),
            None,
        )
        if opener is None:
            with path.open("rb") as stream:
                _write(stream, copy, path, codec)
            return
        plain = copy.with_suffix("") if copy.suffix in _SUFFIXES else copy
        # Beside events.csv, events.csv.xz is another file.
        taken = plain != copy and path.with_name(plain.name).exists()
        with opener(path) as stream:
            _write(stream, copy.with_name(f"{copy.name}.csv") if taken else plain, path, codec)
    except UnicodeError as error:
        raise InputError(
            f"is not {codec}: {error}", where=path, todo="name its encoding: --encoding"
        ) from None
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError("is damaged: it cannot be unpacked", where=path) from None


def _unpack_zip(archive: zipfile.ZipFile, path: Path, folder: Path, codec: str) -> None:
    if "[Content_Types].xml" in archive.namelist():
        raise InputError("an office document is not read", where=path, todo="save its table as CSV")
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        parts = PurePosixPath(entry.filename).parts
        if ".." in parts or PurePosixPath(entry.filename).is_absolute():
            raise InputError(f"holds a file that leads out of it: {entry.filename}", where=path)
        if entry.flag_bits & 1:
            raise InputError("wants a password", where=path, todo="unpack it")
        copy = folder.joinpath(*parts)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as stream:
            _write(stream, copy, path, codec)


def _write(stream: IO[bytes], copy: Path, path: Path, codec: str) -> None:
    first = stream.read(_CHUNK)
    if first.startswith(_PARQUET):
        codec = "utf-8"
    elif first.startswith(_UTF16):
        codec = "utf-16"
    with copy.open("wb") as out:
        if codec == "utf-8":
            out.write(first)
            shutil.copyfileobj(stream, out, _CHUNK)
            return
        decoder = codecs.getincrementaldecoder(codec)()
        out.write(decoder.decode(first).encode())
        while chunk := stream.read(_CHUNK):
            out.write(decoder.decode(chunk).encode())
        out.write(decoder.decode(b"", final=True).encode())
