"""Feature definitions: names, order, JSON and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from mlops.aggregates import span_text
from mlops.errors import ConfigError
from mlops.features import (
    Calendar,
    Count,
    Feature,
    FeatureSet,
    Mean,
    OneHot,
    Ratio,
    Rolling,
    Value,
    duration_us,
)

DAY = 86_400_000_000
FEATURES = FeatureSet(
    (
        Value(column="amount", unit="currency"),
        Calendar(part="night"),
        Rolling(key="card", agg=Mean(column="amount"), windows=("30m", "7d"), unit="currency"),
        Rolling(key="shop", agg=Count(), windows=("1d",), delay="7d", prefix="due"),
        Ratio(name="unusual", numerator="amount", denominator="card_mean_amount_7d"),
    )
)


@pytest.mark.parametrize(
    ("text", "microseconds"), [("1s", 10**6), ("30m", 18 * 10**8), ("12h", DAY // 2), ("7d", 7 * DAY)]
)
def test_durations_are_microseconds(text: str, microseconds: int) -> None:
    assert duration_us(text) == microseconds


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5h", "1w", "d", " 1d", "1d\n", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration"):
        duration_us(text)


def test_names_are_in_the_order_of_declaration() -> None:
    assert FEATURES.names == (
        "amount", "is_night", "card_mean_amount_30m", "card_mean_amount_7d", "due_1d", "unusual",
    )  # fmt: skip
    assert [name for name, _, _ in FEATURES.describe()] == list(FEATURES.names)


def test_categories_that_differ_in_signs_or_case_only_are_told_apart() -> None:
    assert OneHot(column="age", values=("<30", ">30", "x", "X", "東京")).names == (
        "age_is__30", "age_is__30_2", "age_is_x", "age_is_X_4", "age_is__",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="declared twice: age_is_x"):
        FeatureSet((OneHot(column="age", values=("x", "x")),))
    assert FEATURES.describe()[2][1] == "currency"


@pytest.mark.parametrize(
    ("microseconds", "said"),
    [
        (DAY, "1 day"),
        (14 * DAY, "14 days"),
        (DAY // 24, "1 hour"),
        (90 * 60 * 10**6, "90 minutes"),
        (10**6, "1 second"),
    ],
)
def test_a_span_is_said_in_the_largest_unit_that_fits(microseconds: int, said: str) -> None:
    assert span_text(microseconds) == said


def test_what_is_alike_but_for_its_window_is_described_with_it() -> None:
    counts = Rolling(key="card", agg=Count(), windows=("1d", "7d"), description="payments")
    due = Rolling(key="shop", agg=Count(), windows=("1d", "30d"), delay="7d", description="frauds")
    told = FeatureSet((Value(column="amount", description="the amount"), counts, due)).describe()
    assert [text for _, _, text in told] == [
        "the amount",
        "payments, in the last day",
        "payments, in the last 7 days",
        "frauds, in the day up to 7 days before",
        "frauds, in the 30 days up to 7 days before",
    ]
    assert FeatureSet((Rolling(key="card", agg=Count(), windows=("1d",)),)).describe()[0][2] == ""


def test_the_horizon_is_the_longest_window_with_its_delay() -> None:
    assert FEATURES.horizon_us == 8 * DAY
    assert FeatureSet((Value(column="amount"),)).horizon_us == 0


def test_definitions_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(FEATURES), type=FeatureSet) == FEATURES


def test_an_unknown_field_in_json_is_refused() -> None:
    text = msgspec.json.encode(FEATURES).replace(b'"prefix"', b'"where"')
    with pytest.raises(msgspec.ValidationError, match="where"):
        msgspec.json.decode(text, type=FeatureSet)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ((Value(column="a"), Value(column="a")), "declared twice: a"),
        ((Rolling(key="k", agg=Count(), windows=("1d",)), Value(column="k_count_1d")), "declared twice"),
        ((Rolling(key="k", agg=Count(), windows=("1d", "1d")),), "declared twice: k_count_1d"),
        (
            (Ratio(name="r", numerator="a", denominator="b"), Value(column="a"), Value(column="b")),
            "not declared",
        ),
    ],
)
def test_sets_that_do_not_make_sense_are_refused(features: tuple[Feature, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FeatureSet(features)
