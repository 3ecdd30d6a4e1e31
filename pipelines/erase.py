"""Erases one person's decisions and labels from the logs and their archive."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops.records import Decision, LabelRecord, log_files, read_lines
from mlops.storage import one_writer, replace_file
from pipelines.archive import (
    ARCHIVE,
    ArchiveFile,
    Manifest,
    archived_rows,
    is_closed,
    must_have_logs,
    read_manifest,
    write_manifest,
)
from pipelines.pseudonyms import Pseudonyms
from pipelines.retention import sweep

__all__ = ["Erased", "erase"]

Record = TypeVar("Record", Decision, LabelRecord)
_ANEW = "~"


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were erased, and how many files that a server writes to still hold some: they are left alone.

    A row that is in the archive and still in the server's file counts twice.
    """

    decisions: int
    labels: int
    files_left: int


def erase(decisions: Path, column: str, value: str, pseudonyms: Pseudonyms | None) -> Erased:
    """Erase the decisions whose event has `value` in `column`, and the labels of these events.

    Safe to run twice, and to be killed: then it is to be run again.

    Args:
        decisions: the folder of the logs.
        value: as text, as it came in.
        pseudonyms: those of the archive.

    Raises:
        InputError: there are no logs, or a line does not parse.
        SetupError: the disk is full.
    """
    must_have_logs(decisions)

    def is_theirs(decision: Decision) -> bool:
        return str(decision.event.get(column)) == value

    def names(file: ArchiveFile) -> str:
        return str(pseudonyms.of(column, value)) if pseudonyms and column in file.hashed else value

    def theirs(rows: pa.RecordBatch, file: ArchiveFile) -> pa.Array:
        return _holds(rows, column, names(file))

    with one_writer(decisions / ARCHIVE):
        manifest = read_manifest(decisions)
        sweep(decisions, manifest)
        archive = {path: file for path, file in manifest.files.items() if file.kind == "decisions"}
        raw = log_files(decisions, "decisions")
        ids = {str(d.event_id) for path in raw for d in read_lines(path, Decision) if is_theirs(d)}
        for path, file in archive.items():
            for rows in archived_rows(decisions / ARCHIVE / path):
                ids.update(rows.filter(theirs(rows, file))["event_id"].to_pylist())

        def labels_theirs(rows: pa.RecordBatch, _: ArchiveFile) -> pa.Array:
            return pc.is_in(rows["event_id"], pa.array(sorted(ids), pa.string()))

        # Labels first: without the decisions nobody could tell whose they are.
        known_labels, left_labels = _erase_lines(
            log_files(decisions, "labels"), LabelRecord, lambda record: str(record.event_id) in ids
        )
        manifest, more_labels = _erase_rows(decisions, manifest, "labels", labels_theirs)
        known, left = _erase_lines(raw, Decision, is_theirs)
        manifest, more = _erase_rows(decisions, manifest, "decisions", theirs)
    return Erased(decisions=known + more, labels=known_labels + more_labels, files_left=left + left_labels)


def _holds(rows: pa.RecordBatch, column: str, value: str) -> pa.Array:
    """Which rows' events have this value, where the archive has a column for it and where it has none."""
    event = rows["event"]
    held = pa.repeat(False, len(rows))
    if event.type.get_field_index(column) >= 0:
        field = pc.struct_field(event, column)
        held = pc.fill_null(pc.equal(field.cast(pa.string()), value), False)
    rest = [
        text is not None and str(msgspec.json.decode(text).get(column)) == value
        for text in rows["rest"].to_pylist()
    ]
    return pc.or_(held, pa.array(rest, pa.bool_()))


def _erase_lines(
    paths: Collection[Path], type_: type[Record], is_theirs: Callable[[Record], bool]
) -> tuple[int, int]:
    """Write files anew without some lines; return how many these were, and in how many files they had to stay."""
    erased, left = 0, 0
    for path in paths:
        count = sum(map(is_theirs, read_lines(path, type_)))
        if not count:
            continue
        if not is_closed(path):
            left += 1
            continue
        before = path.stat()
        with replace_file(path) as aside, aside.open("xb") as file:
            file.writelines(
                msgspec.json.encode(record) + b"\n"
                for record in read_lines(path, type_)
                if not is_theirs(record)
            )
            file.flush()
            shutil.copymode(path, aside)
            os.utime(
                aside, ns=(before.st_atime_ns, before.st_mtime_ns)
            )  # a server looks at files as old as its own
        erased += count
    return erased, left


def _erase_rows(
    decisions: Path,
    manifest: Manifest,
    kind: str,
    which: Callable[[pa.RecordBatch, ArchiveFile], pa.Array],
) -> tuple[Manifest, int]:
    """Write files of the archive anew without some rows, and let the new ones belong to it instead."""
    files, erased = dict(manifest.files), 0
    for path, file in manifest.files.items():
        if file.kind != kind:
            continue
        kept = [
            rows.filter(pc.invert(which(rows, file))) for rows in archived_rows(decisions / ARCHIVE / path)
        ]
        count = file.rows - sum(map(len, kept))
        if not count:
            continue
        del files[path]
        erased += count
        if count < file.rows:
            old = decisions / ARCHIVE / path
            new = old.with_name(f"{old.stem.partition(_ANEW)[0]}{_ANEW}{secrets.token_hex(4)}.parquet")
            with replace_file(new) as aside:
                pq.write_table(pa.Table.from_batches(kept), aside, compression="zstd")
            files[str(new.relative_to(decisions / ARCHIVE))] = msgspec.structs.replace(
                file, rows=file.rows - count
            )
    if erased:
        manifest = msgspec.structs.replace(manifest, files=files)
        write_manifest(decisions, manifest)
        sweep(decisions, manifest)
    return manifest, erased
