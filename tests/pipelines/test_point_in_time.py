"""Values that know more than could be known are found, however they came to be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from msgspec.structs import replace

from mlops.errors import ConfigError
from mlops.features import Count, FeatureSet, Max, Rate, Rolling, Value, Where
from mlops.leaks import check_features
from pipelines.kernel import features_of
from pipelines.point_in_time import find_leaks
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, arrow_table, histories


@pytest.fixture(scope="module", params=[False, True], ids=["numbers", "text"])
def events(request: pytest.FixtureRequest) -> pa.Table:
    return arrow_table([event for one in histories(30, text_ids=request.param) for event in one])


def test_features_of_every_kind_know_nothing_of_the_future(events: pa.Table) -> None:
    table = features_of(events, FEATURES, SCHEMA)
    assert find_leaks(events, table, FEATURES, SCHEMA, LABEL) == []


@pytest.mark.parametrize(
    "feature",
    [
        Rolling(key="shop", agg=Rate(column="fraud"), windows=("3d",)),
        Rolling(key="shop", agg=Rate(column="fraud"), windows=("3d",), delay="1d"),
        Rolling(
            key="shop", agg=Max(column="items"), windows=("3d",), where=Where(column="fraud", equals=True)
        ),
    ],
    ids=["rate at once", "rate a day early", "condition"],
)
def test_a_label_used_too_early_is_refused_and_would_be_found(events: pa.Table, feature: Rolling) -> None:
    planted = FeatureSet((Value(column="amount"), feature))
    with pytest.raises(ConfigError, match="leak"):
        check_features(planted, SCHEMA, LABEL, "planted")
    leaks = find_leaks(events, features_of(events, planted, SCHEMA), planted, SCHEMA, LABEL)
    assert {leak.feature for leak in leaks} == {planted.names[1]}


def test_a_window_that_reaches_into_the_future_is_found(events: pa.Table) -> None:
    features = FeatureSet((Value(column="amount"), Rolling(key="card", agg=Count(), windows=("2d",))))
    table = features_of(events, features, SCHEMA)
    of_card = {row["values"]: row["counts"] for row in pc.value_counts(events["card"]).to_pylist()}
    everything = np.array([float(of_card[card]) for card in table["card"].to_pylist()])
    leaking = table.set_column(
        table.column_names.index("card_count_2d"), "card_count_2d", pa.array(everything)
    )

    leaks = find_leaks(events, leaking, features, SCHEMA, LABEL)

    assert leaks
    assert all(leak.feature == "card_count_2d" and leak.value > leak.then for leak in leaks)


def test_of_events_without_a_time_only_their_label_is_the_future(events: pa.Table) -> None:
    timeless = replace(SCHEMA, time="", columns=tuple(c for c in SCHEMA.columns if c.name != "at"))
    rows = events.drop_columns(["at"])
    features = FeatureSet((Value(column="amount"), Value(column="fraud", fallback=0.0)))
    leaks = find_leaks(rows, features_of(rows, features, timeless), features, timeless, LABEL)
    assert {leak.feature for leak in leaks} == {"fraud_filled"}
    assert len(leaks) == pc.sum(rows["fraud"]).as_py()
