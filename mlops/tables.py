"""The tables between the steps: folders of Parquet files with a small JSON file that says what they are."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops.features import FeatureSet
from mlops.storage import read_json, write_json

__all__ = ["EventTable", "FeatureTable", "read_event_table", "read_feature_table", "write_table_meta"]

_META = "_table.json"  # Spark and pyarrow pass over names that start with an underscore


class EventTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events in canonical columns: ids int64 or string, times timestamp[us, UTC], decimals double, booleans bool.

    `whole_number_ids` are the id columns stored as int64; `fingerprint` is a digest of the content that does not
    depend on the order of rows or files. Times are ISO 8601.
    """

    rows: int
    whole_number_ids: tuple[str, ...]
    first_event: str
    last_event: str
    fingerprint: str


class FeatureTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event table with one double column a feature.

    `unlabelled` counts events whose label is not known; `events` are the fingerprints of the event tables that the
    features were computed from.
    """

    rows: int
    unlabelled: int
    features: FeatureSet
    events: tuple[str, ...]
    whole_number_ids: tuple[str, ...]
    fingerprint: str


def write_table_meta(folder: Path, meta: EventTable | FeatureTable) -> None:
    """Write what the table in `folder` is."""
    write_json(folder / _META, meta)


def read_event_table(folder: Path) -> EventTable:
    """What the event table in `folder` is.

    Raises:
        InputError: it is none.
    """
    return read_json(folder / _META, EventTable)


def read_feature_table(folder: Path) -> FeatureTable:
    """What the feature table in `folder` is.

    Raises:
        InputError: it is none.
    """
    return read_json(folder / _META, FeatureTable)
