"""An event table from events that are in memory already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops.schema import EventSchema
from mlops.tables import NO_DAY, EventTable, Part, day_folder, total_fingerprint, write_table_meta

__all__ = ["write_event_table"]

_BATCH_ROWS = 20_000


def write_event_table(events: pa.Table, folder: Path, schema: EventSchema) -> EventTable:
    """Write events into an empty folder, a file a day, in the order of (event time, id), and say what they are.

    A day's fingerprint is a digest of its rows in this order.

    Args:
        events: the schema's columns, at least one row; ids int64 or text, times timestamp[us, UTC].
    """
    order = [name for name in (schema.time, schema.id) if name]
    events = events.sort_by([(name, "ascending") for name in order])
    days = pc.strftime(events[schema.time], "%Y-%m-%d") if schema.time else pa.repeat(NO_DAY, len(events))
    parts = {}
    for day in pc.unique(days).to_pylist():
        rows = events.filter(pc.equal(days, day))
        day_folder(folder, day).mkdir(parents=True)
        pq.write_table(rows, day_folder(folder, day) / "part-00000.parquet")
        parts[day] = Part(rows=len(rows), fingerprint=_digest(rows))
    times = events[schema.time] if schema.time else None
    table = EventTable(
        rows=len(events),
        whole_number_ids=tuple(
            c.name for c in schema.columns if c.type == "id" and pa.types.is_integer(events[c.name].type)
        ),
        first_event=times[0].as_py().isoformat() if times else "",
        last_event=times[-1].as_py().isoformat() if times else "",
        fingerprint=total_fingerprint(parts),
        days=parts,
    )
    write_table_meta(folder, table)
    return table


def _digest(rows: pa.Table) -> str:
    digest = hashlib.sha256()
    for batch in rows.to_batches(max_chunksize=_BATCH_ROWS):
        digest.update(msgspec.json.encode(batch.to_pylist()).strip(b"[]"))
    return digest.hexdigest()[:32]
