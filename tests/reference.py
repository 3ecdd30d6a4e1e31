"""Features by brute force: slow, plain, and what both executors are compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.features import Aggregate, Calendar, Count, FeatureSet, Mean, Ratio, Rolling, Sum, Value
from mlops.schema import EventSchema, Label

__all__ = ["reference_features"]

Event = Mapping[str, Any]
Id = int | str


def reference_features(
    events: Sequence[Event],
    labels: Mapping[Id, bool],
    features: FeatureSet,
    schema: EventSchema,
    label: Label,
) -> dict[Id, list[float]]:
    """The features of each event, by event id, in the order of `features.names`.

    Args:
        events: canonical columns; event times are datetimes, in UTC if naive; ids are all int or all str. The label
            column may be missing or None: not known.
        labels: event id → label; wins over the label in the event.
    """
    known = [
        {**event, label.column: labels.get(event[schema.id], event.get(label.column))} for event in events
    ]
    result = {}
    for event in known:
        values: dict[str, float] = {}
        for feature in features.features:
            if isinstance(feature, Value):
                value = event[feature.column]
                values[feature.column] = math.nan if value is None else float(value)
            elif isinstance(feature, Calendar):
                moment = datetime(1970, 1, 1) + timedelta(microseconds=_time(event, schema))
                hit = moment.weekday() >= 5 if feature.part == "weekend" else moment.hour <= 6
                values[feature.names[0]] = float(hit)
            elif isinstance(feature, Ratio):
                below = values[feature.denominator]
                values[feature.name] = values[feature.numerator] / below if below else feature.fallback
            elif isinstance(feature, Rolling):
                values |= {a.name: _aggregate(a, event, known, schema) for a in feature.aggregates()}
        result[event[schema.id]] = [values[name] for name in features.names]
    return result


def _aggregate(a: Aggregate, event: Event, events: Sequence[Event], schema: EventSchema) -> float:
    own, end = _order(event, schema), _time(event, schema) - a.delay_us
    window = [e for e in events if e[a.key] == event[a.key] and end - a.window_us < _time(e, schema) <= end]
    if not a.delay_us:
        window = [e for e in window if (o := _order(e, schema)) < own or (a.include_current and o == own)]
    if isinstance(a.agg, Count):
        return float(len(window))
    if not window:
        return a.fallback
    if isinstance(a.agg, Sum | Mean):
        decimals = schema.column(a.agg.column).decimals
        total = float(sum(round((e[a.agg.column] or 0) * 10**decimals) for e in window))
        return (total if isinstance(a.agg, Sum) else total / len(window)) / 10**decimals
    return sum(e[a.agg.column] == 1 for e in window) / len(window)


def _order(event: Event, schema: EventSchema) -> tuple[int, int | bytes]:
    id_ = event[schema.id]
    return _time(event, schema), id_ if isinstance(id_, int) else id_.encode()


def _time(event: Event, schema: EventSchema) -> int:
    """Microseconds since 1970."""
    time: datetime = event[schema.time]
    time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    return (time - datetime(1970, 1, 1)) // timedelta(microseconds=1)
