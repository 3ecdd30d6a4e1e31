"""The archive of the logs: Parquet by the day on which the server wrote, `archive/day=2026-11-21/decisions-….parquet`.

`archive/_files.json` says which files belong to it and which of the server's files they are made of. It is replaced in
one step, so whoever goes by it sees each row once, whenever the one who writes the archive was killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import InputError
from mlops.records import Decision, Kind, LabelRecord, read_decisions, read_labels
from mlops.schema import ColumnType, EventSchema, Label
from mlops.storage import one_writer, read_json, write_json
from pipelines.pseudonyms import Pseudonyms

__all__ = [
    "ARCHIVE",
    "ROWS",
    "ArchiveFile",
    "Manifest",
    "Source",
    "batches",
    "decision_row",
    "event_types",
    "label_row",
    "logged_decisions",
    "logged_labels",
    "moment",
    "read_manifest",
    "reading",
    "schema_of",
    "write_manifest",
]

T = TypeVar("T")

ARCHIVE = "archive"
ROWS = 20_000
"""Rows that are held at once."""

_MANIFEST = "_files.json"
_MOMENT = pa.timestamp("us", tz="UTC")
_TYPES: dict[ColumnType, pa.DataType] = {
    "id": pa.string(),
    "timestamp": _MOMENT,
    "decimal": pa.float64(),
    "float": pa.float64(),
    "integer": pa.int64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
}
_EXACT = 2**53


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


@contextmanager
def reading(decisions: Path) -> Iterator[Manifest]:
    """What belongs to the archive, and nothing of it, nor of the server's files, is removed until the block ends."""
    archive = decisions / ARCHIVE
    if not archive.exists():  # nothing is removed by who makes it
        yield Manifest()
        return
    with one_writer(archive):
        yield read_manifest(decisions)


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
        for row in _rows(decisions / ARCHIVE / path, event_id):
            decision = _decision(row)
            yield decision if pseudonyms is None else _hashed(decision, pseudonyms, file.hashed)
    for decision in read_decisions(decisions, manifest.sources):
        if event_id is None or str(decision.event_id) == event_id:
            yield decision if pseudonyms is None else _hashed(decision, pseudonyms)


def logged_labels(decisions: Path, manifest: Manifest) -> Iterator[LabelRecord]:
    """All labels, of the archive and of the server's files that are not in it.

    Raises:
        InputError: a line, not the torn last one of a file, does not parse.
    """
    for path, file in manifest.files.items():
        if file.kind == "labels":
            for row in _rows(decisions / ARCHIVE / path):
                times = {name: _text(row[name]) for name in ("known_at", "received_at")}
                yield LabelRecord(event_id=row["event_id"], label=row["label"], **times)
    yield from read_labels(decisions, manifest.sources)


def event_types(schema: EventSchema, label: Label) -> dict[str, ColumnType]:
    """The columns of an event that a server is sent, and their types."""
    return {c.name: c.type for c in schema.columns if c.name not in label.columns}


def schema_of(kind: Kind, types: Mapping[str, ColumnType]) -> pa.Schema:
    """The columns of the archive's files. Fields of an event without a column of their type are JSON in `rest`."""
    if kind == "labels":
        return pa.schema(
            [
                ("event_id", pa.string()),
                ("label", pa.float64()),
                ("known_at", _MOMENT),
                ("received_at", _MOMENT),
            ]
        )
    event = pa.struct([(name, _TYPES[type_]) for name, type_ in types.items()])
    return pa.schema(
        [
            ("decision_id", pa.string()),
            ("event_id", pa.string()),
            ("scored_at", _MOMENT),
            ("event", event),
            ("rest", pa.string()),
            ("features", pa.list_(pa.float64())),
            ("score", pa.float64()),
            *((name, pa.string()) for name in ("decision", "version", "bundle", "caller")),
        ]
    )


def decision_row(decision: Decision, types: Mapping[str, ColumnType]) -> dict[str, Any]:
    """A decision as a row of the archive."""
    event: dict[str, Any] = dict.fromkeys(types)
    rest = {}
    for name, value in decision.event.items():
        if value is not None:
            try:
                event[name] = _stored(types[name], value)
            except (KeyError, ValueError):
                rest[name] = value
    return {
        "decision_id": decision.decision_id,
        "event_id": str(decision.event_id),
        "scored_at": moment(decision.scored_at),
        "event": event,
        "rest": msgspec.json.encode(rest, order="sorted").decode() if rest else None,
        "features": list(map(float, decision.features)),
        "score": float(decision.score),
        "decision": decision.decision,
        "version": decision.version,
        "bundle": decision.bundle,
        "caller": decision.caller,
    }


def label_row(label: LabelRecord) -> dict[str, Any]:
    """A label as a row of the archive."""
    return {
        "event_id": str(label.event_id),
        "label": float(label.label),
        "known_at": moment(label.known_at),
        "received_at": moment(label.received_at),
    }


def moment(text: str) -> datetime | None:
    """The moment that an ISO 8601 text says, in UTC if it has no offset; None if it is empty."""
    if not text:
        return None
    read = datetime.fromisoformat(text)
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def batches(rows: Iterable[T], size: int = ROWS) -> Iterator[list[T]]:
    """Some at a time."""
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def _stored(type_: ColumnType, value: Any) -> Any:
    """A value as the archive holds it.

    Raises:
        ValueError: it is of another type, or would not stay what it is.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if type_ == "id" and (isinstance(value, str) or (number and isinstance(value, int))):
        return str(value)
    if type_ == "timestamp" and isinstance(value, str) and value:
        return moment(value)
    if type_ in ("decimal", "float") and number and (isinstance(value, float) or abs(value) <= _EXACT):
        return float(value)
    if type_ == "integer" and number and isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if (type_ == "text" and isinstance(value, str)) or (type_ == "boolean" and isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r} is no {type_}")


def _rows(path: Path, event_id: str | None = None) -> Iterator[dict[str, Any]]:
    try:
        if event_id is not None:
            yield from pq.read_table(
                path, filters=[("event_id", "=", event_id)], partitioning=None
            ).to_pylist()
            return
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot be read: {str(error).splitlines()[0]}",
            where=path,
            todo="bring it back from a copy: what it was made of may be gone",
        ) from None


def _decision(row: Mapping[str, Any]) -> Decision:
    event = {
        name: _text(value) if isinstance(value, datetime) else value
        for name, value in row["event"].items()
        if value is not None
    }
    if row["rest"] is not None:
        event |= msgspec.json.decode(row["rest"])
    plain = {name: row[name] for name in row if name not in ("event", "rest", "scored_at")}
    return Decision(event=event, scored_at=_text(row["scored_at"]), **plain)


def _text(value: datetime | None) -> str:
    return "" if value is None else value.isoformat()


def _hashed(decision: Decision, pseudonyms: Pseudonyms, besides: Sequence[str] = ()) -> Decision:
    return msgspec.structs.replace(decision, event=pseudonyms.event(decision.event, besides))
