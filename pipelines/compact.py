"""What the server wrote → the archive, with pseudonyms, and the end of what was kept long enough.

The server's files are read when nobody writes to them any more. Rows are written aside, read back and compared, and
only then do their files begin to belong to the archive, all in one step. The server's files stay for `keep_raw_days`:
a server that starts looks into them for what its store may not know.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import MlopsError
from mlops.policy import DecisionLog
from mlops.records import Decision, Kind, LabelRecord, log_files, read_lines
from mlops.schema import ColumnType, EventSchema, Label
from mlops.storage import one_writer, replace_file
from pipelines.archive import (
    ARCHIVE,
    ArchiveFile,
    Manifest,
    Source,
    batches,
    is_closed,
    must_have_logs,
    read_manifest,
    write_manifest,
)
from pipelines.log_rows import decision_row, event_types, label_row, schema_of
from pipelines.pseudonyms import Pseudonyms
from pipelines.retention import expire, sweep

__all__ = ["CompactResult", "compact"]

_BYTES_AT_ONCE = 2**30
"""Of the server's files whose rows begin to belong to the archive together."""


class CompactResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was done.

    Fields:
        files: of the server, whose rows are in the archive now.
        decisions, labels: how many rows these were.
        being_written: files of the server to which rows may still come.
        files_removed: of the server, kept long enough.
        days_removed: of the archive, kept long enough.
    """

    files: int
    decisions: int
    labels: int
    being_written: int
    files_removed: int
    days_removed: int


def compact(
    decisions: Path,
    schema: EventSchema,
    label: Label,
    policy: DecisionLog,
    pseudonyms: Pseudonyms | None,
    *,
    today: date,
) -> CompactResult:
    """Take the server's closed files into the archive, and remove what was kept long enough.

    Safe to run twice, beside servers, and to be killed: every row stays in the archive or in the server's files, and
    whoever reads both by `pipelines.archive` sees it once. A file is never removed by the run that took it in.

    Args:
        decisions: the folder of the logs.
        pseudonyms: for the columns that `policy` names.

    Raises:
        InputError: a line does not parse.
        MlopsError: a file does not hold what was written to it.
        SetupError: the disk is full.
    """
    must_have_logs(decisions)
    types, being_written = event_types(schema, label), 0
    counts = {"files": 0, "decisions": 0, "labels": 0}
    with one_writer(decisions / ARCHIVE):
        manifest = read_manifest(decisions)
        sweep(decisions, manifest)
        manifest, removed = expire(decisions, manifest, policy, today)
        for kind in get_args(Kind):
            waiting = [path for path in log_files(decisions, kind) if path.name not in manifest.sources]
            closed = [path for path in waiting if is_closed(path)]
            being_written += len(waiting) - len(closed)
            for group in _groups(closed):
                taken = _take_in(decisions, kind, group, types, pseudonyms)
                manifest = msgspec.structs.replace(
                    manifest,
                    files=manifest.files | taken.files,
                    sources=manifest.sources | taken.sources,
                    key_id=taken.key_id or manifest.key_id,
                )
                write_manifest(decisions, manifest)
                counts["files"] += len(group)
                counts[kind] += sum(source.rows for source in taken.sources.values())
    return CompactResult(**counts, **removed, being_written=being_written)


def _take_in(
    decisions: Path,
    kind: Kind,
    sources: Sequence[Path],
    types: Mapping[str, ColumnType],
    pseudonyms: Pseudonyms | None,
) -> Manifest:
    """Write the rows of some files into the archive; return what is to belong to it from then on."""
    hashed = pseudonyms.columns if pseudonyms is not None and kind == "decisions" else ()
    columns = schema_of(kind, types)
    known: dict[str, Source] = {}
    with ExitStack() as stack:
        days: dict[str, _Day] = {}
        for source in sources:
            rows, last_day = 0, ""
            for batch in batches(_rows_of(source, kind, types, pseudonyms)):
                by_day: dict[str, list[dict[str, Any]]] = {}
                for day, row in batch:
                    by_day.setdefault(day, []).append(row)
                for day, part in by_day.items():
                    if day not in days:
                        path = decisions / ARCHIVE / f"day={day}" / f"{sources[0].stem}.parquet"
                        days[day] = _Day(stack.enter_context(replace_file(path)), columns)
                    days[day].write(part)
                rows, last_day = rows + len(batch), max(last_day, *by_day)
            known[source.name] = Source(rows=rows, last_day=last_day)
        for part_of_day in days.values():
            part_of_day.finish()
    files = {
        f"day={day}/{sources[0].stem}.parquet": ArchiveFile(kind=kind, day=day, rows=it.rows, hashed=hashed)
        for day, it in days.items()
    }
    return Manifest(files=files, sources=known, key_id=pseudonyms.key_id if pseudonyms and hashed else "")


class _Day:
    """A file of the archive that is being written, and a digest of its rows, whatever their order."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.rows = 0
        self._path = path
        self._columns = columns
        self._digest = 0
        self._writer = pq.ParquetWriter(path, columns, compression="zstd")

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._writer.write_table(pa.Table.from_pylist(rows, self._columns))
        self.rows += len(rows)
        self._digest += _digest(rows)

    def finish(self) -> None:
        """Close the file, read it, and compare.

        Raises:
            MlopsError: it holds something else.
        """
        self._writer.close()
        rows, digest = 0, 0
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches():
                rows += batch.num_rows
                digest += _digest(batch.to_pylist())
        if (rows, digest) != (self.rows, self._digest):
            raise MlopsError(
                f"of {self.rows} rows {rows} were read back, and not as they were written",
                where=self._path.parent,
                todo="the logs are as they were; look at the disk, and run again",
            )


def _digest(rows: Iterable[Mapping[str, Any]]) -> int:
    lines = (msgspec.json.encode(row, order="deterministic") for row in rows)
    return sum(int.from_bytes(hashlib.blake2b(line, digest_size=16).digest()) for line in lines)


def _rows_of(
    path: Path, kind: Kind, types: Mapping[str, ColumnType], pseudonyms: Pseudonyms | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a file, and its day: when it was written, but no day before the file's, whatever the clock did."""
    begun = _begun(path)
    if kind == "decisions":
        for decision in read_lines(path, Decision):
            if pseudonyms is not None:
                decision = msgspec.structs.replace(decision, event=pseudonyms.event(decision.event))
            yield max(decision.scored_at[:10], begun), decision_row(decision, types)
    else:
        for label in read_lines(path, LabelRecord):
            yield max(label.received_at[:10], begun), label_row(label)


def _begun(path: Path) -> str:
    """The day in a file's name, else the one on which it was last written to."""
    digits = path.stem.split("-")[1][:8]
    try:
        return date.fromisoformat(digits).isoformat()
    except ValueError:
        return time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime))


def _groups(paths: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for path in paths:
        group.append(path)
        size += path.stat().st_size
        if size >= _BYTES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group
