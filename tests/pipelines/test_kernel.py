"""Features of a table in memory against the brute force, to the last bit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings

from mlops.features import Calendar, Count, FeatureSet, OneHot, Rolling, Value
from mlops.schema import EventSchema
from pipelines.kernel import features_of
from tests.pipelines.drawn import FEATURE_SETS, HISTORIES
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, Event, arrow_table, histories
from tests.reference import reference_features


def computed(
    events: pa.Table, features: FeatureSet, schema: EventSchema = SCHEMA
) -> dict[int | str, list[float]]:
    table = features_of(events, features, schema)
    rows = zip(*(table[name].to_pylist() for name in features.names), strict=True)
    return dict(zip(table[schema.id].to_pylist(), map(list, rows), strict=True))


@settings(max_examples=600, deadline=None)
@given(HISTORIES, FEATURE_SETS)
def test_any_feature_of_any_history_is_the_reference_s(events: list[Event], features: FeatureSet) -> None:
    expected = reference_features(events, {}, features, SCHEMA, LABEL)
    assert computed(arrow_table(events), features) == expected


def test_a_larger_history_with_every_kind_is_the_reference_s() -> None:
    """Windows of many events, of one key and of several."""
    rng = np.random.default_rng(0)
    events = [
        event
        | {
            "id": n,
            "card": int(rng.integers(3)),
            "shop": int(rng.integers(2)),
            "at": datetime(2024, 10, 24, tzinfo=UTC) + timedelta(minutes=int(rng.integers(7 * 24 * 60))),
        }
        for n, event in enumerate(event for h in histories(60, text_ids=False) for event in h)
    ]
    expected = reference_features(events, {}, FEATURES, SCHEMA, LABEL)
    assert computed(arrow_table(events), FEATURES) == expected


def test_times_and_keys_that_do_not_fit_into_one_number_are_no_trouble() -> None:
    rng = np.random.default_rng(0)
    events = [
        histories(1, text_ids=False)[0][0]
        | {"id": n, "card": int(rng.integers(200)), "at": datetime(year, 1, 1, tzinfo=UTC)}
        for n, year in enumerate(rng.choice([2, 3, 2024, 9997, 9998], 600).tolist())
    ]
    features = FeatureSet((Rolling(key="card", agg=Count(), windows=("1d", "365d", "3000000d", "5000000d")),))
    expected = reference_features(events, {}, features, SCHEMA, LABEL)
    assert computed(arrow_table(events), features) == expected


def test_events_keep_their_order_and_their_columns() -> None:
    events = arrow_table(histories(1, text_ids=True, seed=3)[0])
    assert features_of(events, FEATURES, SCHEMA).select(events.column_names).equals(events)


def test_a_table_without_rows_has_the_columns() -> None:
    empty = arrow_table(histories(1, text_ids=False)[0]).slice(0, 0)
    assert features_of(empty, FEATURES, SCHEMA).num_rows == 0


def test_events_without_a_time_have_the_features_that_need_none() -> None:
    timeless = EventSchema(id="id", columns=tuple(c for c in SCHEMA.columns if c.name != "at"))
    features = FeatureSet(
        (
            Value(column="amount"),
            Value(column="points", fallback=-1.0),
            OneHot(column="kind", values=("a",)),
            Calendar(part="month", column="opened"),
        )
    )
    events = histories(1, text_ids=True, seed=3)[0]
    expected = reference_features(events, {}, features, SCHEMA, LABEL)
    assert computed(arrow_table(events).drop_columns(["at"]), features, timeless) == expected
