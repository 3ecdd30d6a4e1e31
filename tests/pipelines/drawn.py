"""Features and small adversarial histories for hypothesis to draw: ties, borders to the microsecond, nulls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from mlops.clock import Part
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
    Ratio,
    Rolling,
    SinceFirst,
    SinceLast,
    Sum,
    Value,
    Where,
)
from tests.pipelines.histories import Event

__all__ = ["FEATURE_SETS", "HISTORIES"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000

_WHERE = st.none() | st.sampled_from(
    [
        Where(column="online", equals=True),
        Where(column="kind", equals="é"),
        Where(column="items", equals=0),
        Where(column="items", minimum=0, maximum=2),
        Where(column="tip", minimum=0.1),
        Where(column="score", maximum=0.5),
        Where(column="fraud", equals=False),
    ]
)
_SUMMED = [Sum(column=c) for c in ("amount", "tip", "items", "fraud")]
_AVERAGED = [Mean(column=c) for c in ("amount", "tip", "points", "online")]
_OTHERS = [
    Count(),
    SinceFirst(),
    SinceLast(),
    *(kind(column=c) for kind in (Min, Max) for c in ("amount", "tip", "items", "points")),
    *(Distinct(column=c) for c in ("id", "shop", "kind", "tip", "points", "fraud")),
    *(Rate(column=c) for c in ("fraud", "online")),
]


def _rolling(**drawn: Any) -> Rolling:
    if isinstance(drawn["agg"], SinceLast) and not drawn["delay"]:
        drawn["include_current"] = False
    return Rolling(**drawn)


_DELAYS = st.sampled_from(["", "", "1s", "1d", "2d"])
_FALLBACKS = st.sampled_from([0.0, -1.0])
_KEYS = st.sampled_from(["card", "shop", "kind", "online"])
_ROLLINGS = st.builds(
    _rolling,
    key=_KEYS,
    agg=st.sampled_from([*_SUMMED, *_AVERAGED, *_OTHERS]),
    windows=st.sampled_from([("1s",), ("1d",), ("2d", "1d")]),
    delay=_DELAYS,
    where=_WHERE,
    include_current=st.booleans(),
    fallback=_FALLBACKS,
)
_LASTS = st.builds(
    Last,
    key=_KEYS,
    fields=st.sampled_from([("amount", "at"), ("points",), ("tip", "fraud", "online")]),
    n=st.integers(1, 3),
    window=st.sampled_from(["1s", "2d"]),
    delay=_DELAYS,
    where=_WHERE,
    include_current=st.booleans(),
    fallback=_FALLBACKS,
)
_CALENDARS = st.builds(
    Calendar,
    part=st.sampled_from(get_args(Part)),
    column=st.sampled_from(["", "opened"]),
    timezone=st.sampled_from(["UTC", "Europe/Brussels", "Australia/Lord_Howe"]),
)
_OWN: list[Feature] = [
    Value(column="amount"),
    Value(column="tip", fallback=-1.0),
    Value(column="fraud", fallback=0.5),
    Missing(column="opened"),
    OneHot(column="kind", values=("a", "é", "b c")),
    OneHot(column="online", values=("true", "false")),
]


def _feature_set(windowed: list[Rolling | Last], calendars: list[Calendar], own: list[Feature]) -> FeatureSet:
    named = [msgspec.structs.replace(feature, prefix=f"{n}") for n, feature in enumerate(windowed)]
    ratios = [
        Ratio(name=f"ratio_{n}", numerator="amount", denominator=feature.names[-1], fallback=-9.0)
        for n, feature in enumerate(named)
    ]
    once = {feature.names: feature for feature in calendars}.values()
    return FeatureSet((Value(column="amount"), *own, *once, *named, *ratios))


FEATURE_SETS = st.builds(
    _feature_set,
    st.lists(_ROLLINGS | _LASTS, min_size=1, max_size=4),
    st.lists(_CALENDARS, max_size=2),
    st.lists(st.sampled_from(_OWN[1:]), max_size=3, unique_by=lambda feature: feature.names),
)

_MOMENTS = st.builds(
    lambda day, shift: _EPOCH + timedelta(microseconds=day * _DAY + shift),
    st.integers(-3, 3),
    st.sampled_from([-1_000_000, -1, 0, 1, 1_000_000]),
)
_EVENTS = st.fixed_dictionaries(
    {
        "at": _MOMENTS,
        "card": st.sampled_from(["a", "b"]),
        "shop": st.sampled_from(["x", "y"]),
        "amount": st.integers(0, 10**13).map(lambda cents: cents / 100),
        "items": st.integers(-2, 3),
        "kind": st.sampled_from(["a", "é"]),
        "online": st.booleans(),
        "fraud": st.sampled_from([True, False, None]),
    },
    optional={
        "tip": st.none() | st.integers(-3, 3).map(lambda tenths: tenths / 10),
        "points": st.none() | st.integers(-2, 2),
        "score": st.none() | st.floats(0, 1),
        "opened": st.none() | _MOMENTS,
    },
)
_TEXT = ["9", "10", "010", "a", "B", "é", "z", "\U0001f600", "ｚ", "-1", "", "a\0"]


def _identified(events: list[Event], ids: list[int | str]) -> list[Event]:
    return [{"id": id_, **event} for id_, event in zip(ids, events, strict=False)]


HISTORIES = st.builds(
    _identified,
    st.lists(_EVENTS, min_size=1, max_size=12),
    st.permutations(_TEXT) | st.permutations(range(-6, 6)),
)
