"""What a feature is, in words: for the model card, the docs and for who asks why a value is what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlops.aggregates import Aggregate, Count, Nth
from mlops.features import Calendar, Feature, FeatureSet, Last, Missing, OneHot, Ratio, Rolling, Value

__all__ = ["definitions", "duration_text", "quantity", "window_text"]

_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))

_DURATIONS = ((172_800, 86_400, "days"), (3_600, 3_600, "h"), (60, 60, "min"), (0, 1, "s"))
_PLURALS = (
    (r"(?<=[^aeiou])ies$", "y"),
    (r"(?<=x|s)es$", ""),
    (r"(?<=ch|sh)es$", ""),
    (r"(?<=[a-z]{2}[^sui])s$", ""),
)


def quantity(value: float, unit: str, digits: Mapping[str, int]) -> tuple[str, str]:
    """A feature's value, and its unit if it is said with one, as people say them.

    Flags are yes or no, shares per cent, seconds in what suits them; one of what a unit counts is in the singular.

    Args:
        digits: after the point, of units that have a fixed number of them, such as currencies.
    """
    if unit == "0/1" and value in (0, 1):
        return ("yes" if value else "no"), ""
    if unit == "share":
        return f"{100 * value:.4g}", "%"
    if unit == "s":
        size, name = next((size, name) for least, size, name in _DURATIONS if abs(value) >= least)
        return f"{value / size:.4g}", name
    text = f"{value:.{digits[unit]}f}" if unit in digits else f"{value:.6g}"
    if unit == "currency":  # whichever it is
        return text, ""
    if value == 1:
        unit = next((re.sub(find, put, unit) for find, put in _PLURALS if re.search(find, unit)), unit)
    return text, unit


def duration_text(microseconds: int) -> str:
    """A duration as it is declared: 7d, 90m, 0."""
    for unit, size in _UNITS:
        if microseconds and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{microseconds} µs" if microseconds else "0"


def window_text(a: Aggregate) -> str:
    """The window of an event at time t, and the condition: (t − 30d, t], or (t − 30d, this event) without itself."""
    begin = duration_text(a.delay_us + a.window_us)
    end = f"t − {duration_text(a.delay_us)}]" if a.delay_us else "t]" if a.include_current else "this event)"
    return f"(t − {begin}, {end}" + (f" where {a.where}" if a.where is not None else "")


def definitions(features: FeatureSet, *, windows: bool = True) -> dict[str, str]:
    """What each feature is computed from, by name and in order; without `windows`, not over which events."""
    return {name: text for feature in features.features for name, text in _definitions(feature, windows)}


def _definitions(feature: Feature, windows: bool) -> list[tuple[str, str]]:
    if isinstance(feature, Rolling | Last):
        return [(a.name, _aggregate(a, windows)) for a in feature.aggregates()]
    if isinstance(feature, OneHot):
        pairs = zip(feature.names, feature.values, strict=True)
        return [(name, f"{feature.column} = {value}") for name, value in pairs]
    if isinstance(feature, Value):
        text = (
            feature.column if feature.fallback is None else f"{feature.column}, else {feature.fallback:.10g}"
        )
    elif isinstance(feature, Missing):
        text = f"{feature.column} is missing"
    elif isinstance(feature, Calendar):
        text = f"{feature.part} of {feature.column or 'the event time'} in {feature.timezone}"
    elif isinstance(feature, Ratio):
        text = f"{feature.numerator} / {feature.denominator}, else {feature.fallback:.10g}"
    return [(feature.names[0], text)]


def _aggregate(a: Aggregate, window: bool) -> str:
    if isinstance(a.agg, Nth):
        what = f"{a.agg.column} of the newest event but {a.agg.place - 1}" if a.agg.place > 1 else ""
        what = what or f"{a.agg.column} of the newest event"
    else:
        what = (
            a.agg.label.replace("_", " ", 1)
            if getattr(a.agg, "column", "")
            else a.agg.label.replace("_", " ")
        )
    over = f" by {a.key} in {window_text(a)}" if window else ""
    return f"{what}{over}" if isinstance(a.agg, Count) else f"{what}{over}, else {a.fallback:.10g}"
