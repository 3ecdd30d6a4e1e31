"""Whether features know the future: they are computed again from what was known when the event happened.

Declarations are checked before anything is computed (`mlops.leaks`). This checks the values themselves, whoever
computed them: an event that came later, or a label that was not yet due, may not have changed any.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from mlops.features import FeatureSet
from mlops.schema import EventSchema, Label
from pipelines.kernel import features_of

__all__ = ["Leak", "find_leaks", "known_at"]

Executor = Callable[[pa.Table, FeatureSet, EventSchema], pa.Table]


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """A feature whose value is another one if nothing is known but what was known then."""

    event_id: int | str
    feature: str
    value: float
    then: float


def known_at(events: pa.Table, event: dict[str, Any], schema: EventSchema, label: Label) -> pa.Table:
    """The events up to one of them, in the order of (event time, id), and their labels as far as they were due.

    Where events have no time, it is the event alone, and no label.

    Args:
        events: canonical columns.
        event: one of its rows.
    """
    if schema.time:
        time, id_ = events[schema.time], events[schema.id]
        earlier = pc.less(time, event[schema.time])
        tied = pc.and_(pc.equal(time, event[schema.time]), pc.less_equal(id_, event[schema.id]))
        known = events.filter(pc.or_(earlier, tied))
        due = pc.less_equal(known[schema.time], event[schema.time] - timedelta(days=label.delay_days))
    else:
        known, due = events.filter(pc.equal(events[schema.id], event[schema.id])), pa.scalar(False)
    labels = pc.if_else(due, known[label.column], pa.scalar(None, known[label.column].type))
    return known.set_column(known.column_names.index(label.column), label.column, labels)


def find_leaks(
    events: pa.Table,
    values: pa.Table,
    features: FeatureSet,
    schema: EventSchema,
    label: Label,
    *,
    executor: Executor = features_of,
) -> list[Leak]:
    """The differences between features as they are and as they were at the time.

    Args:
        events: a whole history in canonical columns.
        values: some of its events with their features, by id and by feature name.
        executor: what computes the features of a few events.
    """
    keys = tuple(features.by_key)
    leaks = []
    for row in values.select([schema.id, *features.names]).to_pylist():
        own = pc.equal(events[schema.id], row[schema.id])
        event = events.filter(own).to_pylist()[0]
        for key in keys:  # whatever shares no key with the event is in none of its windows
            own = pc.or_(own, pc.equal(events[key], event[key]))
        then = executor(known_at(events.filter(own), event, schema, label), features, schema)
        mine = then.filter(pc.equal(then[schema.id], row[schema.id])).to_pylist()[0]
        leaks += [
            Leak(event_id=row[schema.id], feature=name, value=row[name], then=mine[name])
            for name in features.names
            if row[name] != mine[name]
        ]
    return leaks
