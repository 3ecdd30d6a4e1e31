"""The tables between the steps: folders of Parquet files with a small JSON file that says what they are.

A table by day holds a folder of files for each event-time day (UTC), `day=2018-04-01`; events without a time lie in
`day=none`. Beside what it is, an event table says which batches it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops.errors import InputError
from mlops.features import FeatureSet
from mlops.storage import read_json, write_json

__all__ = [
    "NO_DAY",
    "Batch",
    "EventTable",
    "FeatureTable",
    "Part",
    "day_folder",
    "read_batches",
    "read_event_table",
    "read_feature_table",
    "total_fingerprint",
    "write_batches",
    "write_table_meta",
]

NO_DAY = "none"
Table = TypeVar("Table", "EventTable", "FeatureTable")
_META = "_table.json"  # Spark and pyarrow pass over names that start with an underscore
_BATCHES = "_batches.json"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A day of a table. `fingerprint` is of its content: 32 hexadecimal digits."""

    rows: int
    fingerprint: str


class EventTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events in canonical columns: ids int64 or string, times timestamp[us, UTC], decimals double, booleans bool.

    `whole_number_ids` are the id columns stored as int64; `days` are the table's parts, by ISO date, and
    `fingerprint` is the sum of theirs: digests of the content that do not depend on the order of rows or files.
    Times are ISO 8601, empty where events have none.
    """

    rows: int
    whole_number_ids: tuple[str, ...]
    first_event: str
    last_event: str
    fingerprint: str
    days: dict[str, Part] = {}


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that were taken into an event table together, and what became of their rows.

    `files` are their names by the digest of their content; `rows_in` = `good` + `quarantined` + `duplicates`, and
    `labels` of the good rows brought only the label of an event that was there. `taken_at` is ISO 8601.
    """

    id: str
    files: dict[str, str]
    rows_in: int
    good: int
    quarantined: int
    duplicates: int
    labels: int
    taken_at: str


class FeatureTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event table with one double column a feature.

    `unlabelled` counts events whose label is not known; `events` are the fingerprints of the event tables that the
    features were computed from; `days` and `fingerprint` are as an event table's. `sources` is the fingerprint of each
    day of the event table, if the features are those of all events of one table; `columns` are the schema's types.
    """

    rows: int
    unlabelled: int
    features: FeatureSet
    events: tuple[str, ...]
    whole_number_ids: tuple[str, ...]
    fingerprint: str
    days: dict[str, Part] = {}
    sources: dict[str, str] = {}
    columns: dict[str, str] = {}


def day_folder(table: Path, day: str) -> Path:
    """Where the table's files of this day are."""
    return table / f"day={day}"


def total_fingerprint(days: Mapping[str, Part]) -> str:
    """The fingerprint of a table with these parts."""
    return f"{sum(int(part.fingerprint, 16) for part in days.values()) % (1 << 128):032x}"


def write_table_meta(folder: Path, meta: EventTable | FeatureTable) -> None:
    """Write what the table in `folder` is."""
    write_json(folder / _META, meta)


def read_event_table(folder: Path) -> EventTable:
    """What the event table in `folder` is.

    Raises:
        InputError: it is none.
    """
    return _read(folder, EventTable, "mlops validate")


def read_feature_table(folder: Path) -> FeatureTable:
    """What the feature table in `folder` is.

    Raises:
        InputError: it is none.
    """
    return _read(folder, FeatureTable, "mlops features")


def write_batches(folder: Path, batches: tuple[Batch, ...]) -> None:
    """Write which batches the event table in `folder` is made of."""
    write_json(folder / _BATCHES, batches)


def read_batches(folder: Path) -> tuple[Batch, ...]:
    """The batches that the event table in `folder` is made of, in the order in which they were taken.

    Raises:
        InputError: it does not say so.
    """
    return read_json(folder / _BATCHES, tuple[Batch, ...])


def _read(folder: Path, kind: type[Table], command: str) -> Table:
    if not (folder / _META).is_file():
        raise InputError("no such table", where=folder, todo=f"run {command} first")
    return read_json(folder / _META, kind)
