"""Features by brute force: slow, plain, and what both executors are compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mlops.features import (
    Aggregate,
    Calendar,
    Count,
    Distinct,
    FeatureSet,
    Last,
    Max,
    Mean,
    Min,
    Missing,
    OneHot,
    Rate,
    Ratio,
    Rolling,
    SinceFirst,
    SinceLast,
    Sum,
    Value,
    Where,
)
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
        events: canonical columns; event times are datetimes, in UTC if naive; ids are all int or all str. A nullable
            column may be missing or None, and so may the label's: not known.
        labels: event id → label; wins over the label in the event.
    """
    known = [
        {**event, label.column: labels.get(event[schema.id], event.get(label.column))} for event in events
    ]
    result = {}
    for event in known:
        values: dict[str, float] = {}
        for feature in features.features:
            if isinstance(feature, Rolling | Last):
                values |= {a.name: _aggregate(a, event, known, schema) for a in feature.aggregates()}
            elif isinstance(feature, Ratio):
                below = values[feature.denominator]
                values[feature.name] = values[feature.numerator] / below if below else feature.fallback
            elif isinstance(feature, OneHot):
                own = _text(event.get(feature.column))
                values |= {n: float(own == v) for n, v in zip(feature.names, feature.values, strict=True)}
            else:
                values[feature.names[0]] = _own(feature, event, schema)
        result[event[schema.id]] = [values[name] for name in features.names]
    return result


def _own(feature: Value | Missing | Calendar, event: Event, schema: EventSchema) -> float:
    value = event.get(feature.column or schema.time if isinstance(feature, Calendar) else feature.column)
    if isinstance(feature, Missing):
        return float(value is None)
    if value is None:
        return math.nan if feature.fallback is None else feature.fallback
    if isinstance(feature, Value):
        return float(value)
    shown = _utc(value).astimezone(ZoneInfo(feature.timezone))
    if feature.part == "weekend":
        return float(shown.weekday() >= 5)
    if feature.part == "night":
        return float(shown.hour <= 6)
    return float(shown.weekday() if feature.part == "weekday" else getattr(shown, feature.part))


def _aggregate(a: Aggregate, event: Event, events: Sequence[Event], schema: EventSchema) -> float:
    own, end = _order(event, schema), _time(event, schema) - a.delay_us
    window = [e for e in events if e[a.key] == event[a.key] and end - a.window_us < _time(e, schema) <= end]
    if not a.delay_us:
        window = [e for e in window if (o := _order(e, schema)) < own or (a.include_current and o == own)]
    window = sorted((e for e in window if _fulfils(a.where, e)), key=lambda e: _order(e, schema))
    agg = a.agg
    if isinstance(agg, Count):
        return float(len(window))
    if isinstance(agg, Distinct):
        return float(len({e.get(agg.column) for e in window} - {None}))
    if isinstance(agg, SinceFirst | SinceLast):
        places = window[:1] if isinstance(agg, SinceFirst) else window[-1:]
        return (_time(event, schema) - _time(places[0], schema)) / 1e6 if places else a.fallback
    if isinstance(agg, Rate):
        return sum(e.get(agg.column) == 1 for e in window) / len(window) if window else a.fallback
    if not isinstance(agg, Sum | Mean | Min | Max):
        nth = window[-agg.place] if agg.place <= len(window) else {}
        if agg.column == schema.time:
            return (_time(event, schema) - _time(nth, schema)) / 1e6 if nth else a.fallback
        window, agg = [nth], Max(column=agg.column)

    scale = 10 ** schema.column(agg.column).decimals
    numbers = [round(e[agg.column] * scale) for e in window if e.get(agg.column) is not None]
    if isinstance(agg, Min | Max):
        return (min if isinstance(agg, Min) else max)(numbers) / scale if numbers else a.fallback
    total = float(sum(numbers))
    if not window:
        return a.fallback
    return (total if isinstance(agg, Sum) else total / len(window)) / scale


def _fulfils(where: Where | None, event: Event) -> bool:
    if where is None:
        return True
    value = event.get(where.column)
    if value is None:
        return False
    if where.equals is not None:
        return bool(value == where.equals)
    return (where.minimum is None or value >= where.minimum) and (
        where.maximum is None or value <= where.maximum
    )


def _text(value: bool | str | None) -> str | None:
    return str(value).lower() if isinstance(value, bool) else value


def _order(event: Event, schema: EventSchema) -> tuple[int, int | bytes]:
    id_ = event[schema.id]
    return _time(event, schema), id_ if isinstance(id_, int) else id_.encode()


def _time(event: Event, schema: EventSchema) -> int:
    """Microseconds since 1970."""
    return (_utc(event[schema.time]) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
