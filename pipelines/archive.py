"""The archive of the logs: Parquet by the day on which the server wrote, `archive/day=2026-11-21/decisions-….parquet`.

`archive/_files.json` says which files belong to it and which of the server's files they are made of. It is replaced in
one step, so whoever goes by it sees each row once, whenever the one who writes the archive was killed.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops.errors import InputError
from mlops.records import Decision, Kind, LabelRecord, read_decisions, read_labels
from mlops.storage import one_writer, read_json, write_json
from pipelines.log_rows import decision_of, label_of
from pipelines.pseudonyms import Pseudonyms

__all__ = [
    "ARCHIVE",
    "ROWS",
    "ArchiveFile",
    "Manifest",
    "Source",
    "archived_rows",
    "batches",
    "counting",
    "is_closed",
    "logged_decisions",
    "logged_labels",
    "must_have_logs",
    "read_manifest",
    "reading",
    "write_manifest",
]

T = TypeVar("T")

ARCHIVE = "archive"
ROWS = 20_000
"""Rows that are held at once."""

_MANIFEST = "_files.json"


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the archive: the rows of one day. `hashed` are the columns that hold pseudonyms."""

    kind: Kind
    day: str
    rows: int
    hashed: tuple[str, ...] = ()


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the server whose rows are in the archive; `last_day` is that of the latest."""

    rows: int
    last_day: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What belongs to the archive.

    Fields:
        files: by their path in the archive's folder.
        sources: by the name of the server's file; it may have been removed.
        key_id: of the key that pseudonyms were made with, none if there are none.
    """

    files: dict[str, ArchiveFile] = {}
    sources: dict[str, Source] = {}
    key_id: str = ""

    @property
    def hashed(self) -> tuple[str, ...]:
        """The columns that hold pseudonyms in any of the files."""
        return tuple(dict.fromkeys(column for file in self.files.values() for column in file.hashed))


def read_manifest(decisions: Path) -> Manifest:
    """What belongs to the archive in the logs' folder; nothing if there is none.

    Raises:
        InputError: it is damaged.
    """
    path = decisions / ARCHIVE / _MANIFEST
    return read_json(path, Manifest) if path.exists() else Manifest()


def write_manifest(decisions: Path, manifest: Manifest) -> None:
    """Let just this belong to the archive."""
    write_json(decisions / ARCHIVE / _MANIFEST, manifest)


def is_closed(path: Path) -> bool:
    """Whether no process has the lock that a server holds on the file that it writes to."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def reading(decisions: Path) -> Iterator[Manifest]:
    """What belongs to the archive, and nothing of it, nor of the server's files, is removed until the block ends."""
    archive = decisions / ARCHIVE
    if not archive.exists():  # nothing is removed by who makes it
        yield Manifest()
        return
    with one_writer(archive):
        yield read_manifest(decisions)


def must_have_logs(decisions: Path) -> None:
    """Refuse to go on without a folder of logs, before anything is made for it.

    Raises:
        InputError: there is none.
    """
    if not decisions.is_dir():
        raise InputError("no logs", where=decisions, todo="nothing was served yet: mlops serve")


def logged_decisions(
    decisions: Path, manifest: Manifest, pseudonyms: Pseudonyms | None = None, *, event_id: str | None = None
) -> Iterator[Decision]:
    """All decisions, of the archive and of the server's files that are not in it, or those about one event.

    What comes from the archive has ids as text, and fields that were null are missing.

    Args:
        pseudonyms: put into all that do not have them.
        event_id: as text.

    Raises:
        InputError: a line, not the torn last one of a file, does not parse.
    """
    for path, file in manifest.files.items():
        if file.kind != "decisions":
            continue
        for batch in archived_rows(decisions / ARCHIVE / path):
            rows = batch if event_id is None else batch.filter(pc.equal(batch["event_id"], event_id))
            for decision in map(decision_of, rows.to_pylist()):
                yield decision if pseudonyms is None else _hashed(decision, pseudonyms, file.hashed)
    for decision in read_decisions(decisions, manifest.sources):
        if event_id is None or str(decision.event_id) == event_id:
            yield decision if pseudonyms is None else _hashed(decision, pseudonyms)


def counting(decisions: Iterable[Decision]) -> Decision | None:
    """Of the decisions about one event the one that counts: the last that is not void."""
    lines = list(decisions)
    void = {decision.decision_id for decision in lines if decision.void}
    left = [decision for decision in lines if decision.decision_id not in void]
    return max(reversed(left), key=lambda decision: decision.scored_at, default=None)


def logged_labels(decisions: Path, manifest: Manifest) -> Iterator[LabelRecord]:
    """All labels, of the archive and of the server's files that are not in it.

    Raises:
        InputError: a line, not the torn last one of a file, does not parse.
    """
    for path, file in manifest.files.items():
        if file.kind == "labels":
            for batch in archived_rows(decisions / ARCHIVE / path):
                yield from map(label_of, batch.to_pylist())
    yield from read_labels(decisions, manifest.sources)


def batches(rows: Iterable[T], size: int = ROWS) -> Iterator[list[T]]:
    """Some at a time."""
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def archived_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file of the archive, some at a time.

    Raises:
        InputError: it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot be read: {str(error).splitlines()[0]}",
            where=path,
            todo="bring it back from a copy: what it was made of may be gone",
        ) from None


def _hashed(decision: Decision, pseudonyms: Pseudonyms, besides: Sequence[str] = ()) -> Decision:
    return msgspec.structs.replace(decision, event=pseudonyms.event(decision.event, besides))
