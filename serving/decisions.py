"""The decision log and the label log: JSON lines, appended and never rewritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops.errors import SetupError
from mlops.records import Decision, LabelRecord

__all__ = ["AppendLog", "last_decisions", "last_labels"]

Record = TypeVar("Record", Decision, LabelRecord)

_BESIDE_S = 60.0
"""Logs whose last lines are no further apart were written by processes that ran at the same time, or nearly."""


class AppendLog:
    """Files `<prefix>-<start>-<pid>.jsonl` in a folder, one a process, made at the first line.

    What a call to `write` appends goes in one write to the kernel: it is there, or it is not, when the process dies.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._descriptor: int | None = None
        self._size = 0
        self._path: Path | None = None

    def write(self, records: Sequence[msgspec.Struct]) -> None:
        """Append a line for each record.

        Raises:
            SetupError: it cannot be written; then nothing of it is there.
        """
        data = msgspec.json.Encoder().encode_lines(records)
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            written = os.write(self._descriptor, data)
            if written < len(data):
                os.ftruncate(self._descriptor, self._size)
                raise SetupError("no space left on the device", where=self._folder)
        except OSError as error:
            raise SetupError(f"cannot be written to: {error.strerror}", where=self._folder) from None
        self._size += written

    def last(self, count: int, type_: type[Record]) -> list[Record]:
        """The last `count` lines that this log wrote."""
        return [] if self._path is None else _last_of(self._path, count, type_)

    def close(self) -> None:
        """Close the file, flushed to the disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        path = self._folder / f"{self._prefix}-{start}-{os.getpid()}.jsonl"
        self._size = 0
        self._path = path
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)


def last_decisions(folder: Path, count: int) -> list[Decision]:
    """The last `count` whole lines of the newest decision log in `folder`, and of those that others wrote beside it.

    Raises:
        SetupError: a line is not a decision.
    """
    return _last(folder, "decisions", count, Decision)


def last_labels(folder: Path, count: int) -> list[LabelRecord]:
    """The last `count` whole lines of the newest label log in `folder`, and of those that others wrote beside it.

    Raises:
        SetupError: a line is not a label.
    """
    return _last(folder, "labels", count, LabelRecord)


def _last(folder: Path, prefix: str, count: int, type_: type[Record]) -> list[Record]:
    written = {path: path.stat().st_mtime for path in sorted(folder.glob(f"{prefix}-*.jsonl"))}
    since = max(written.values(), default=0.0) - _BESIDE_S
    found = []
    for path in (path for path, at in written.items() if at >= since):
        found += _last_of(path, count, type_)
    return found


def _last_of(path: Path, count: int, type_: type[Record]) -> list[Record]:
    lines = [line for line in _tail(path, count + 1) if line.endswith(b"\n")]
    try:
        return [msgspec.json.decode(line, type=type_) for line in lines[-count:]]
    except msgspec.DecodeError as error:
        raise SetupError(f"a line is not a {type_.__name__}: {error}", where=path) from None


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
