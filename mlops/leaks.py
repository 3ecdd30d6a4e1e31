"""Whether features can be computed from the events as declared, and know nothing before it is known.

A window never reaches into the future, because a length and a delay cannot be negative. What is left to check is the
label: it must not be a feature, a key or a condition before it is due.
"""

from __future__ import annotations

from mlops.errors import ConfigError
from mlops.features import (
    Calendar,
    Count,
    Distinct,
    Feature,
    FeatureSet,
    Last,
    Max,
    Mean,
    Min,
    Missing,
    OneHot,
    Rate,
    Rolling,
    SinceFirst,
    SinceLast,
    Sum,
    Value,
    Where,
    duration_us,
)
from mlops.schema import Column, EventSchema, Label

__all__ = ["check_features"]

_NUMBERS = ("decimal", "float", "integer", "boolean")
_KEYS = ("id", "text", "integer", "boolean")
_AGGREGATED: dict[type, tuple[str, ...]] = {
    Sum: ("decimal", "integer", "boolean"),
    Mean: ("decimal", "integer", "boolean"),
    Rate: ("boolean",),
    Min: ("decimal", "integer"),
    Max: ("decimal", "integer"),
    Distinct: ("id", "text", "integer", "decimal", "boolean"),
}
_FIELDS = ("decimal", "integer", "boolean")


def check_features(features: FeatureSet, events: EventSchema, label: Label, where: str) -> None:
    """Check each feature against the columns that it reads.

    Raises:
        ConfigError: a column is not there or of a wrong type, or a feature would know the label too early.
    """
    for feature in features.features:
        if told := set(label.details) & _read_by(feature):
            raise ConfigError(
                f"a feature reads {', '.join(sorted(told))}, known no sooner than the label",
                where=where,
                todo="remove it: a detail of the label is for judging models only",
            )
        if isinstance(feature, Value | Missing | OneHot):
            _check_own(feature, events, label, where)
        elif isinstance(feature, Calendar) and feature.column:
            _check_type(events.column(feature.column), ("timestamp",), "a calendar shows a timestamp", where)
        elif isinstance(feature, Calendar) and not events.time:
            raise ConfigError(
                "a calendar without a column, but the events have no time", where=where, todo="name a column"
            )
        elif isinstance(feature, Rolling | Last):
            _check_windowed(feature, events, label, where)


def _read_by(feature: Feature) -> set[str]:
    """The event's columns that a feature reads by name."""
    read = {getattr(feature, "column", ""), getattr(feature, "key", ""), *getattr(feature, "fields", ())}
    if isinstance(feature, Rolling | Last) and feature.where is not None:
        read.add(feature.where.column)
    if isinstance(feature, Rolling):
        read.add(getattr(feature.agg, "column", ""))
    return read


def _check_own(feature: Value | Missing | OneHot, events: EventSchema, label: Label, where: str) -> None:
    if feature.column == label.column:
        raise ConfigError("the label is a feature", where=where, todo="remove it: it is what is predicted")
    column = events.column(feature.column)
    if isinstance(feature, Value):
        _check_type(column, _NUMBERS, "a feature is a number", where)
        if column.nullable and feature.fallback is None:
            raise ConfigError(
                f"{column.name} may be missing, and a model's input may not",
                where=where,
                todo="give a fallback",
            )
    elif isinstance(feature, OneHot):
        _check_type(column, ("text", "boolean"), "a category is text or a boolean", where)


def _check_windowed(feature: Rolling | Last, events: EventSchema, label: Label, where: str) -> None:
    if not events.time:
        raise ConfigError(f"a window by {feature.key}, but the events have no time", where=where)
    key = events.column(feature.key)
    if key.name == label.column:
        raise ConfigError(
            "the label is a key: events would be counted with others of their class",
            where=where,
            todo="use another key: anything that knows the label at once is a leak",
        )
    if key.nullable or key.type not in _KEYS:
        raise ConfigError(
            f"{key.name} cannot be a key: it is {'nullable' if key.nullable else key.type}",
            where=where,
            todo=f"a key is never null, and one of {', '.join(_KEYS)}",
        )
    used: list[str] = []
    if isinstance(feature, Last):
        for field in feature.fields:
            if field != events.time:
                _check_type(events.column(field), _FIELDS, "a field of Last is an exact number", where)
        used += feature.fields
    elif not isinstance(feature.agg, Count | SinceFirst | SinceLast):
        kind = type(feature.agg)
        if kind not in _AGGREGATED:
            raise ConfigError(f"{kind.__name__} is not an aggregate of Rolling", where=where, todo="use Last")
        column = events.column(feature.agg.column)
        rule = (
            "a rate is the share of events for which a boolean is true"
            if kind is Rate
            else "only exact types"
        )
        _check_type(column, _AGGREGATED[kind], rule, where)
        used.append(column.name)
    if feature.where is not None:
        _check_condition(feature.where, events, where)
        used.append(feature.where.column)
    delay_us = duration_us(feature.delay) if feature.delay else 0
    if label.column in used and delay_us < label.delay_days * duration_us("1d"):
        raise ConfigError(
            f"{label.column} is known {label.delay_days} days after the event, but used after "
            f"{feature.delay or '0d'}",
            where=where,
            todo="give the aggregate at least the label's delay: anything less is a leak",
        )


def _check_condition(condition: Where, events: EventSchema, where: str) -> None:
    column = events.column(condition.column)
    if condition.equals is None:
        _check_type(column, ("decimal", "float", "integer"), "limits are of numbers", where)
        return
    wanted = {"boolean": bool, "integer": int, "text": str}.get(column.type)
    if wanted is None or type(condition.equals) is not wanted:
        raise ConfigError(
            f"{condition}: {column.name} is {column.type}",
            where=where,
            todo="a boolean, an integer or a text can equal a value of its own type",
        )


def _check_type(column: Column, types: tuple[str, ...], rule: str, where: str) -> None:
    """`rule` is what the types are for."""
    if column.type not in types:
        raise ConfigError(
            f"{column.name} is {column.type}: {rule}",
            where=where,
            todo=f"types that can be: {', '.join(types)}",
        )
