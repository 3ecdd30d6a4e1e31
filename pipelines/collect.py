"""The server's logs → tables: the events as they were served, their labels, and what was answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops.errors import InputError
from mlops.records import Decision, LabelRecord
from mlops.schema import Column, EventSchema, Label
from mlops.storage import publish_dir
from pipelines.archive import Manifest, batches, logged_decisions, logged_labels, reading
from pipelines.arrow_table import write_event_table
from pipelines.canonical import ARROW_TYPES, are_whole_numbers
from pipelines.log_rows import moment
from pipelines.pseudonyms import Pseudonyms

__all__ = ["CollectResult", "collect"]

_MOMENT = pa.timestamp("us", tz="UTC")
_TYPES = ARROW_TYPES | {"timestamp": _MOMENT}


class CollectResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the logs held; `repeated` decisions were about an event that another one counts for, or are void."""

    decisions: int
    events: int
    repeated: int
    labels: int


def collect(
    decisions: Path,
    events_out: Path,
    labels_out: Path,
    served_out: Path,
    schema: EventSchema,
    label: Label,
    names: Mapping[str, Sequence[str]],
    pseudonyms: Pseudonyms | None = None,
) -> CollectResult:
    """Write three tables from the decision log and the label log, and replace what they held.

    Of several decisions about one event the last counts that is not void, of several labels the last, by the server's
    clock. Rows are in the order of (event time, id).

    Args:
        decisions: the folder with both logs, and their archive.
        events_out: the event table, its label and the label's details null.
        labels_out: the labels table: id, label, `known_at`.
        served_out: decision_id, the event's columns but the label and its details, its features by name (a feature
            that is a column of the event stands there once), score, decision, version, bundle, scored_at.
        names: the feature names of each bundle that decided, in order, by the digest over all its files.
        pseudonyms: what personal columns hold in all three tables.

    Raises:
        InputError: there is no decision, a line does not parse, or a bundle is not in `names`.
    """
    truth = _TYPES[schema.column(label.column).type]
    with reading(decisions) as manifest:
        known = _last_labels(logged_labels(decisions, manifest))
        total, served = _served(decisions, manifest, schema, label, names, pseudonyms)
    labels = pa.table(
        {
            schema.id: pa.array(known.keys(), pa.string()),
            label.column: pa.array([record.label for record in known.values()], pa.float64()).cast(truth),
            "known_at": pa.array([moment(record.known_at) for record in known.values()], _MOMENT),
        }
    )

    numbers = {c.name for c in schema.columns if c.type == "id" and are_whole_numbers(served[c.name])}
    if not are_whole_numbers(labels[schema.id]):
        numbers.discard(schema.id)
    served, labels = _with_numbers(served, numbers), _with_numbers(labels, numbers)
    order = [name for name in (schema.time, schema.id) if name]
    served = served.sort_by([(name, "ascending") for name in order])
    events = pa.table(
        {
            c.name: pa.nulls(len(served), _TYPES[c.type]) if c.name in label.columns else served[c.name]
            for c in schema.columns
        }
    )
    with publish_dir(events_out) as e, publish_dir(labels_out) as known_labels, publish_dir(served_out) as s:
        write_event_table(events, e, schema)
        for folder, table in ((known_labels, labels), (s, served)):
            pq.write_table(table, folder / "part-00000.parquet")
    return CollectResult(
        decisions=total, events=len(events), repeated=total - len(events), labels=len(labels)
    )


def _last_labels(labels: Iterable[LabelRecord]) -> dict[str, LabelRecord]:
    """The label of each event that the server took last; of those at one time, or without a time, that of the later
    line."""
    known: dict[str, LabelRecord] = {}
    for record in labels:
        before = known.get(str(record.event_id))
        if before is None or record.received_at >= before.received_at:
            known[str(record.event_id)] = record
    return known


def _served(
    decisions: Path,
    manifest: Manifest,
    schema: EventSchema,
    label: Label,
    names: Mapping[str, Sequence[str]],
    pseudonyms: Pseudonyms | None,
) -> tuple[int, pa.Table]:
    """How many decisions there are, and those that count, ids as text."""
    tables: list[pa.Table] = []
    void: set[str] = set()
    for lines in batches(logged_decisions(decisions, manifest, pseudonyms)):
        void |= {decision.decision_id for decision in lines if decision.void}
        batch = [decision for decision in lines if not decision.void]
        for digest in dict.fromkeys(decision.bundle for decision in batch):
            if digest not in names:
                raise InputError(f"the features of bundle {digest[:12]} are not known", where=decisions)
            part = [decision for decision in batch if decision.bundle == digest]
            tables.append(_table(part, names[digest], schema, label))
    if not tables:
        raise InputError("no decision was logged", where=decisions)
    every = pa.concat_tables(tables, promote_options="default")
    valid = every.filter(pc.invert(pc.is_in(every["decision_id"], pa.array(sorted(void), pa.string()))))
    numbers = pa.array(np.arange(len(valid)))
    order = pa.table({"at": valid["scored_at"], "line": numbers}).sort_by(
        [("at", "ascending"), ("line", "ascending")]
    )
    ids = pa.table({"id": valid[schema.id].take(order["line"]), "place": numbers})
    last = ids.group_by("id").aggregate([("place", "max")])["place_max"]
    return len(every), valid.take(order["line"].take(last))


def _table(decisions: list[Decision], names: Sequence[str], schema: EventSchema, label: Label) -> pa.Table:
    """Decisions of one bundle, a row each."""
    columns: dict[str, pa.Array] = {"decision_id": pa.array([d.decision_id for d in decisions])}
    for column in schema.columns:
        if column.name not in label.columns:
            values = [_value(column, d.event.get(column.name)) for d in decisions]
            columns[column.name] = pa.array(values, _TYPES[column.type])
    for place, name in enumerate(names):
        if name not in columns:
            columns[name] = pa.array([d.features[place] for d in decisions], pa.float64())
    columns["score"] = pa.array([d.score for d in decisions], pa.float64())
    for name in ("decision", "version", "bundle"):
        columns[name] = pa.array([getattr(d, name) for d in decisions], pa.string())
    columns["scored_at"] = pa.array([moment(d.scored_at) for d in decisions], _MOMENT)
    return pa.table(columns)


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.type == "id":
        return str(value)
    return moment(value) if column.type == "timestamp" else value


def _with_numbers(table: pa.Table, numbers: set[str]) -> pa.Table:
    fields = [pa.field(f.name, pa.int64()) if f.name in numbers else f for f in table.schema]
    return table.cast(pa.schema(fields))
