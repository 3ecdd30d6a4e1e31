"""An explanation of an event's features as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from mlops.features import FeatureSet
from mlops.schema import EventSchema
from pipelines.explain import ExplainedFeature, Explanation
from pipelines.tables import as_text, plain_table

__all__ = ["explanation_text"]

_MOST_EVENTS = 40
_PLACES = ("table", "online", "served")


def explanation_text(explanation: Explanation, features: FeatureSet, schema: EventSchema) -> str:
    """The features with their windows, the windows with their events, and the events."""
    parts = [_features(explanation), _windows(explanation), _events(explanation, _read(features, schema))]
    return "".join(as_text(part) for part in parts) + _verdict(explanation)


def _features(explanation: Explanation) -> Table:
    table = plain_table("Features", "feature", "value", "unit", "window", "computed as")
    for feature in explanation.features:
        number = "" if feature.window is None else str(feature.window + 1)
        table.add_row(feature.name, _value(feature), feature.unit, number, feature.definition)
    return table


def _value(feature: ExplainedFeature) -> str:
    """The value, and what other places have instead."""
    others = {place: getattr(feature, place) for place in _PLACES}
    differing = [
        f"{place} {value!r}" for place, value in others.items() if value not in (None, feature.offline)
    ]
    return ", ".join([f"{feature.offline:.6g}", *differing])


def _windows(explanation: Explanation) -> Table:
    table = plain_table("Windows", "#", "window", "of", "from", "to", "events", "in the store")
    for number, window in enumerate(explanation.windows, start=1):
        online = "not known" if window.online is None else _compared(window.offline, window.online)
        table.add_row(
            str(number),
            window.window,
            f"{window.key} {window.value}",
            _minute(window.begin),
            _minute(window.end),
            str(len(window.offline)),
            online,
        )
    return table


def _compared(offline: tuple[int | str, ...], online: tuple[int | str, ...]) -> str:
    if offline == online:
        return "the same"
    lacking, more = sorted(set(offline) - set(online)), sorted(set(online) - set(offline))
    said = [
        f"{word} {', '.join(map(str, ids[:5]))}"
        for word, ids in (("lacks", lacking), ("also has", more))
        if ids
    ]
    return f"{len(online)}: {'; '.join(said)}"


def _read(features: FeatureSet, schema: EventSchema) -> list[str]:
    """The columns that windows are made of."""
    used = {schema.id, schema.time}
    for a in features.aggregates:
        used |= {a.key, getattr(a.agg, "column", ""), a.where.column if a.where else ""}
    return [schema.id, *(c.name for c in schema.columns if c.name in used - {schema.id})]


def _events(explanation: Explanation, columns: Sequence[str]) -> Table:
    table = plain_table("Events in these windows", *columns, "in windows")
    table.columns[0].overflow = "fold"
    rows = explanation.events[-_MOST_EVENTS:]
    for row in rows:
        id_ = row[columns[0]]
        inside = [str(n) for n, window in enumerate(explanation.windows, start=1) if id_ in window.offline]
        table.add_row(*(_cell(row[column]) for column in columns), " ".join(inside))
    if left := len(explanation.events) - len(rows):
        table.caption = f"{left} earlier ones are not shown; --json has them all"
    return table


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)


def _verdict(explanation: Explanation) -> str:
    if explanation.differences:
        return f"Not the same everywhere: {', '.join(explanation.differences)}\n"
    known = [place for place in _PLACES if any(getattr(f, place) is not None for f in explanation.features)]
    names = {"table": "the feature table", "online": "the online store", "served": "the decision log"}
    places = ["the event table", *(names[place] for place in known)]
    return f"The same, to the last bit, in {', '.join(places)}.\n"


def _minute(moment: str) -> str:
    return moment[:19].replace("T", " ")
