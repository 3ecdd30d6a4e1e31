"""Pseudonyms for personal columns: who has the key can tell whose they are, and nobody else.

A pseudonym is HMAC-SHA256 (RFC 2104) of the column's name and the value, so one value has one pseudonym in all
tables, and windows over a pseudonymous key are those over the key. Whole numbers get whole numbers, since ids that are
numbers stay so in every table.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import ConfigError
from mlops.storage import one_writer, publish_dir, replace_file
from mlops.tables import EventTable, Part, day_folder, read_event_table, total_fingerprint, write_table_meta
from pipelines.history import table_files

__all__ = ["KEY_FILE", "Pseudonyms", "pseudonymous_events", "read_or_make_key"]

KEY_FILE = "pseudonyms.key"
_KEY_BYTES = 32
_CACHED = 1 << 20
_NUMBERS = 10**18  # below the largest int64
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")


class Pseudonyms:
    """The pseudonyms of one key. `key_id` tells keys apart without giving them away."""

    def __init__(self, key: bytes, columns: Iterable[str]) -> None:
        self.columns = tuple(dict.fromkeys(columns))
        self.key_id = hashlib.sha256(b"pseudonyms " + key).hexdigest()[:16]
        self._digest = lru_cache(_CACHED)(lambda text: hmac.digest(key, text.encode(), "sha256"))

    def of(self, column: str, value: Any) -> Any:
        """The pseudonym of a value: a whole number for one, also where it is written as text, else 32 hexadecimal
        digits behind an `h`; null stays null."""
        if value is None:
            return None
        digest = self._digest(f"{column}\0{value}")
        if isinstance(value, int) or _WHOLE.fullmatch(value):
            return type(value)(int.from_bytes(digest[:16]) % _NUMBERS)
        return f"h{digest[:16].hex()}"

    def event(self, values: Mapping[str, Any], besides: Iterable[str] = ()) -> dict[str, Any]:
        """An event with pseudonyms in its personal columns, except in those that have them already."""
        new = dict(values)
        for column in self.columns:
            if new.get(column) is not None and column not in besides:
                new[column] = self.of(column, new[column])
        return new

    def table(self, rows: pa.Table) -> pa.Table:
        """Rows with pseudonyms in the personal columns that they have; the types stay."""
        for place, name in enumerate(rows.column_names):
            if name in self.columns:
                coded = rows[name].combine_chunks().dictionary_encode()
                values = pa.array([self.of(name, v) for v in coded.dictionary.to_pylist()], rows[name].type)
                rows = rows.set_column(place, rows.field(name), values.take(coded.indices))
        return rows


def read_or_make_key(path: Path) -> bytes:
    """The key in a file that only its owner may read; it is made if there is none.

    Raises:
        ConfigError: what is there is no key.
    """
    with one_writer(path.parent):
        if not path.exists():
            with replace_file(path) as aside:
                descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        try:
            key = bytes.fromhex(path.read_text())
        except ValueError:
            key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            "is no key of 64 hexadecimal digits", where=path, todo="bring back the one that was there"
        )
    return key


def pseudonymous_events(
    events: Path, target: Path, pseudonyms: Pseudonyms, since: datetime | None = None
) -> EventTable:
    """Write the events of a table once more, with pseudonyms; `target` is left alone if it holds them already.

    Args:
        since: days that end before are left out.

    Raises:
        InputError: there is no such table.
    """
    table = read_event_table(events)
    days = {day: p for day, p in table.days.items() if since is None or day >= since.date().isoformat()}
    parts = {
        day: Part(rows=part.rows, fingerprint=_fingerprint(part, pseudonyms)) for day, part in days.items()
    }
    new = msgspec.structs.replace(
        table,
        rows=sum(part.rows for part in parts.values()),
        days=parts,
        fingerprint=total_fingerprint(parts),
    )
    if target.exists() and read_event_table(target) == new:
        return new
    left_out = {day_folder(events, day) for day in table.days.keys() - days.keys()}
    with publish_dir(target) as folder:
        for file in table_files(events):
            if file.parent not in left_out:
                copy = folder / file.relative_to(events)
                copy.parent.mkdir(parents=True, exist_ok=True)
                with pq.ParquetFile(file) as source:
                    pq.write_table(pseudonyms.table(source.read()), copy)
        write_table_meta(folder, new)
    return new


def _fingerprint(part: Part, pseudonyms: Pseudonyms) -> str:
    told = f"{part.fingerprint} {pseudonyms.key_id} {' '.join(pseudonyms.columns)}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]
