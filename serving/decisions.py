"""The decision log and the label log: JSON lines, appended and never rewritten.

A log is a row of files: one is written, and once it is large or old enough, another. The file being written is locked,
and the system takes the lock away when its process ends in whatever way, so that others can tell the closed ones.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops.errors import SetupError
from mlops.records import Decision, LabelRecord

__all__ = ["AppendLog", "damaged_lines", "last_decisions", "last_labels"]

Record = TypeVar("Record", Decision, LabelRecord)

_BESIDE_S = 60.0
"""Logs whose last lines are no further apart were written by processes that ran at the same time, or nearly."""

_REMEMBERED = 64
"""Files of its own that a log looks for its last lines in."""

_START = "%Y%m%dT%H%M%S%fZ"
_NUL = b"\0"  # what a loss of power may leave in place of what was written last; no line holds one
_damaged: dict[Path, set[int]] = {}  # hashes of the lines that this process found to be none
_log = logging.getLogger("serving")
_encode_lines = msgspec.json.Encoder().encode_lines


class AppendLog:
    """Files `<prefix>-<start>-<writer>.jsonl` in a folder, made at the first line.

    What a call to `write` appends goes in one write to the kernel: it is there, or it is not, when the process dies.
    Names sort in the order in which the files were begun, also where the clock was set back in between.

    Args:
        fsync: also put it on the disk, so that it is there when the machine loses power.
        rotate_bytes: begin another file once one is so large.
        rotate_seconds: begin another file once one is so old.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        *,
        fsync: bool = False,
        rotate_bytes: int = 64 * 2**20,
        rotate_seconds: float = 3600.0,
    ) -> None:
        self.folder = folder
        self._prefix = prefix
        self._fsync = fsync
        self._rotate_bytes = rotate_bytes
        self._rotate_seconds = rotate_seconds
        self._writer = f"{os.getpid()}.{secrets.token_hex(3)}"
        self._descriptor: int | None = None
        self._size = 0
        self._opened = 0.0
        self._paths: deque[Path] = deque(maxlen=_REMEMBERED)

    def write(self, records: Sequence[msgspec.Struct]) -> int:
        """Append a line for each record; return how many bytes that were.

        Raises:
            SetupError: it cannot be written; then nothing of it is there.
        """
        data = _encode_lines(records)
        try:
            if self._descriptor is None or self._is_due():
                self._leave()
                self._descriptor = self._open()
            descriptor = self._descriptor
            written = os.write(descriptor, data)
            if written == len(data) and self._fsync:
                self._sync(descriptor)
        except OSError as error:
            raise SetupError(f"cannot be written to: {error.strerror}", where=self.folder) from None
        if written < len(data):
            self._take_back(descriptor)
            raise SetupError("no space left on the device", where=self.folder)
        self._size += written
        return written

    def rotate_if_due(self) -> None:
        """Close the file if it is old enough, so that a log to which nothing is written has no open file for long.

        It is also left where somebody has removed it: what is written to it would be lost.
        """
        if self._descriptor is not None and (self._is_due() or os.fstat(self._descriptor).st_nlink == 0):
            self._leave()

    def last(self, count: int, type_: type[Record]) -> list[Record]:
        """The last `count` lines that this log wrote."""
        return _last_of(list(self._paths), count, type_)

    def close(self) -> None:
        """Close the file, flushed to the disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            self._leave()

    def _is_due(self) -> bool:
        old = time.monotonic() - self._opened >= self._rotate_seconds
        return self._size >= self._rotate_bytes or (old and self._size > 0)

    def _open(self) -> int:
        """Begin a file. It gets its name once it is locked, so that nobody takes it for a closed one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        start = datetime.now(UTC)
        if before := max(self.folder.glob(f"{self._prefix}-*.jsonl"), default=None):
            start = max(start, _after(before))
        path = self.folder / f"{self._prefix}-{start.strftime(_START)}-{self._writer}.jsonl"
        aside = path.with_name(f".tmp-{path.name}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(aside, path)
            if self._fsync:
                _sync_folder(self.folder)
        except BaseException:
            os.close(descriptor)
            aside.unlink(missing_ok=True)
            raise
        self._size, self._opened = 0, time.monotonic()
        self._paths.append(path)
        return descriptor

    def _leave(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        try:
            if hasattr(os, "fdatasync"):
                os.fdatasync(descriptor)
            else:  # macOS
                os.fsync(descriptor)
        except OSError:
            self._take_back(descriptor)
            self._leave()  # what the kernel holds of a file after that is not what is on the disk
            raise

    def _take_back(self, descriptor: int) -> None:
        """Let the file end where it did before; if that fails, it ends with a torn line, which readers pass over."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._leave()


def last_decisions(folder: Path, count: int) -> list[Decision]:
    """The last `count` whole lines of the process that last began a file of the decision log in `folder`, and of those
    that wrote at the same time or later; in the order of `scored_at`. What is no decision is passed over.

    Raises:
        SetupError: a file cannot be read.
    """
    return sorted(_last(folder, "decisions", count, Decision), key=lambda decision: decision.scored_at)


def last_labels(folder: Path, count: int) -> list[LabelRecord]:
    """The same of the label log, in the order of `received_at`.

    Raises:
        SetupError: a file cannot be read.
    """
    return sorted(_last(folder, "labels", count, LabelRecord), key=lambda label: label.received_at)


def damaged_lines() -> dict[Path, int]:
    """How many lines of which files this process found to be damaged when it looked for the last ones."""
    return {path: len(lines) for path, lines in list(_damaged.items())}


def _last(folder: Path, prefix: str, count: int, type_: type[Record]) -> list[Record]:
    written: dict[Path, float] = {}
    for path in sorted(folder.glob(f"{prefix}-*.jsonl")):
        with suppress(FileNotFoundError):  # archived, and kept long enough
            written[path] = path.stat().st_mtime
    since = written[max(written)] - _BESIDE_S if written else 0.0
    by_writer: dict[str, list[Path]] = {}
    for path, at in written.items():
        if at >= since:
            by_writer.setdefault(path.stem.rpartition("-")[2], []).append(path)
    return [record for its in by_writer.values() for record in _last_of(its, count, type_)]


def _after(path: Path) -> datetime:
    """A moment after the one in a file's name; the beginning of time if it has none."""
    try:
        start = datetime.strptime(path.stem.split("-")[1], _START)
    except (IndexError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return start.replace(tzinfo=UTC) + timedelta(microseconds=1)


def _last_of(paths: Sequence[Path], count: int, type_: type[Record]) -> list[Record]:
    """The last `count` whole lines of files that follow one another; one that was removed since has none."""
    found: list[Record] = []
    for path in reversed(paths):
        if len(found) >= count:
            break
        try:
            lines = [line for line in _tail(path, count - len(found) + 1) if line.endswith(b"\n")]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SetupError(f"cannot be read: {error.strerror}", where=path) from None
        found = list(_whole(lines[-(count - len(found)) :], path, type_)) + found
    return found


def _whole(lines: Sequence[bytes], path: Path, type_: type[Record]) -> Iterator[Record]:
    """What stands in lines, but for the damaged ones: without them the server goes on, and nothing but them is lost."""
    for line in lines:
        start = line.rfind(_NUL) + 1
        try:
            yield msgspec.json.decode(line[start:], type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _report(path, line, f"a line is not a {type_.__name__} and is passed over: {error}")
        else:
            if start:
                _report(path, line, "null bytes stand before a line")


def _report(path: Path, line: bytes, what: str) -> None:
    known = _damaged.setdefault(path, set())
    if hash(line) not in known:
        known.add(hash(line))
        _log.error("%s: %s", path, what)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tail(path: Path, lines: int) -> list[bytes]:
    """At least the last `lines` lines of a file, if it has so many."""
    with path.open("rb") as file:
        size, block = file.seek(0, os.SEEK_END), 1 << 16
        while True:
            start = max(0, size - block)
            file.seek(start)
            found = file.read(size - start).splitlines(keepends=True)
            if start == 0:
                return found
            if len(found) > lines:
                return found[1:]
            block *= 4
