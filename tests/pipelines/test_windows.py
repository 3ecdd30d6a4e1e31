"""Rolling aggregates of whole columns against the reference, without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features import Count, FeatureSet, Mean, Rate, Rolling, Sum
from pipelines.windows import Total, key_codes, rolling_aggregates
from tests.pipelines.histories import LABEL, SCHEMA
from tests.reference import reference_features

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
AGGREGATES = st.one_of(
    st.just(Count()),
    st.just(Sum(column="amount")),
    st.just(Mean(column="amount")),
    st.just(Rate(column="fraud")),
    st.sampled_from([Sum, Mean, Rate]).map(lambda kind: kind(column="items")),
)
ROLLINGS = st.builds(
    Rolling,
    key=st.just("card"),
    agg=AGGREGATES,
    windows=st.sampled_from([("1s",), ("1d",), ("2d", "1d")]),
    delay=st.sampled_from(["", "1s", "1d", "2d"]),
    include_current=st.booleans(),
    fallback=st.sampled_from([0.0, -1.0]),
)
MOMENTS = st.builds(
    lambda day, shift: day * DAY + shift,
    st.integers(-3, 3),
    st.sampled_from([-1_000_000, -1, 0, 1, 1_000_000]),
)
EVENTS = st.lists(
    st.tuples(
        MOMENTS,
        st.sampled_from(["a", "b", None]),
        st.integers(0, 10**13),
        st.integers(0, 3),
        st.sampled_from([True, False, None]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.lists(ROLLINGS, min_size=1, max_size=3))
def test_any_aggregate_of_any_history_is_the_reference_s(
    drawn: list[tuple[int, str | None, int, int, bool | None]], rollings: list[Rolling]
) -> None:
    drawn = sorted(drawn, key=lambda event: event[0])
    events = [
        {
            "id": n,
            "at": EPOCH + timedelta(microseconds=at),
            "card": card,
            "amount": cents / 100,
            "items": items,
            "fraud": fraud,
        }
        for n, (at, card, cents, items, fraud) in enumerate(drawn)
    ]
    named = [msgspec.structs.replace(rolling, prefix=str(n)) for n, rolling in enumerate(rollings)]
    features = FeatureSet(tuple(named))
    items = np.array([event["items"] for event in events])
    result = rolling_aggregates(
        features.aggregates,
        key_codes(pa.array([event["card"] for event in events], pa.string())),
        np.array([at for at, *_ in drawn]),
        {
            Total("amount"): np.rint([event["amount"] * 100 for event in events]).astype(np.int64),
            Total("items"): items,
            Total("items", ones=True): (items == 1).astype(np.int64),
            Total("fraud", ones=True): np.array([int(event["fraud"] or 0) for event in events]),
        },
        {"amount": 2, "items": 0, "fraud": 0},
    )
    expected = reference_features(events, {}, features, SCHEMA, LABEL)
    found = zip(*(result[name].tolist() for name in features.names), strict=True)
    assert dict(enumerate(map(list, found))) == expected
