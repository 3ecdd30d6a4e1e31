"""The server's logs → tables: the events as they were served, their labels, and what was answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import InputError
from mlops.records import Decision, read_decisions, read_labels
from mlops.schema import Column, EventSchema, Label
from mlops.storage import publish_dir
from pipelines.arrow_table import write_event_table
from pipelines.canonical import ARROW_TYPES, are_whole_numbers

__all__ = ["CollectResult", "collect"]

_BATCH_ROWS = 20_000
_MOMENT = pa.timestamp("us", tz="UTC")
_TYPES = ARROW_TYPES | {"timestamp": _MOMENT}


class CollectResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the logs held; `repeated` decisions were about an event that had been decided before."""

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
) -> CollectResult:
    """Write three tables from the decision log and the label log, and replace what they held.

    Of several decisions about one event the first counts, of several labels the last. Rows are in the order of
    (event time, id).

    Args:
        decisions: the folder with both logs.
        events_out: the event table, its label and the label's details null.
        labels_out: the labels table: id, label, `known_at`.
        served_out: decision_id, the event's columns but the label and its details, its features by name (a feature
            that is a column of the event stands there once), score, decision, version, bundle, scored_at.
        names: the feature names of each bundle that decided, in order, by the digest over all its files.

    Raises:
        InputError: there is no decision, a line does not parse, or a bundle is not in `names`.
    """
    truth = _TYPES[schema.column(label.column).type]
    known = {str(r.event_id): (r.label, _moment(r.known_at)) for r in read_labels(decisions)}
    labels = pa.table(
        {
            schema.id: pa.array(known.keys(), pa.string()),
            label.column: pa.array([value for value, _ in known.values()], pa.float64()).cast(truth),
            "known_at": pa.array((moment for _, moment in known.values()), _MOMENT),
        }
    )
    total, served = _served(decisions, schema, label, names)

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


def _served(
    decisions: Path, schema: EventSchema, label: Label, names: Mapping[str, Sequence[str]]
) -> tuple[int, pa.Table]:
    """How many decisions there are, and those that were the first about their event, ids as text."""
    seen: set[str] = set()
    total, tables = 0, []
    for batch in _batches(read_decisions(decisions)):
        total += len(batch)
        first = {str(d.event_id): d for d in reversed(batch)}
        fresh = [d for id_, d in reversed(first.items()) if id_ not in seen]
        seen.update(first)
        for digest in dict.fromkeys(d.bundle for d in fresh):
            if digest not in names:
                raise InputError(f"the features of bundle {digest[:12]} are not known", where=decisions)
            part = [d for d in fresh if d.bundle == digest]
            tables.append(_table(part, names[digest], schema, label))
    if not tables:
        raise InputError("no decision was logged", where=decisions)
    return total, pa.concat_tables(tables, promote_options="default")


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
    columns["scored_at"] = pa.array([_moment(d.scored_at) for d in decisions], _MOMENT)
    return pa.table(columns)


def _batches(decisions: Iterable[Decision]) -> Iterator[list[Decision]]:
    remaining = iter(decisions)
    while batch := list(islice(remaining, _BATCH_ROWS)):
        yield batch


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.type == "id":
        return str(value)
    return _moment(value) if column.type == "timestamp" else value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _with_numbers(table: pa.Table, numbers: set[str]) -> pa.Table:
    fields = [pa.field(f.name, pa.int64()) if f.name in numbers else f for f in table.schema]
    return table.cast(pa.schema(fields))
