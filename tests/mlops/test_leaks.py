"""Features that would know too much, or that cannot be computed from the events, are refused when they are declared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlops.contract import Candidate, UseCase, load_use_case
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
    Nth,
    OneHot,
    Rate,
    Rolling,
    SinceFirst,
    SinceLast,
    Sum,
    Value,
    Where,
)
from mlops.schema import Column, EventSchema

FRAUD = load_use_case("usecases.fraud")
IS_FRAUD = Where(column="is_fraud", equals=True)
PLAIN = (Candidate(name="one", framework="scikit-learn", builder="training.builders:logistic_regression"),)


def use_case(*features: Feature, **changes: Any) -> UseCase:
    changes = {"candidates": PLAIN, "slices": ()} | changes
    return msgspec.structs.replace(FRAUD, features=FeatureSet(features), **changes)


@pytest.mark.parametrize("delay", ["", "1d", "6d", "167h"])
@pytest.mark.parametrize(
    "agg",
    [
        Rate(column="is_fraud"),
        Sum(column="is_fraud"),
        Mean(column="is_fraud"),
        Distinct(column="is_fraud"),
    ],
)
def test_a_label_used_before_it_is_known_is_refused(delay: str, agg: Any) -> None:
    with pytest.raises(ConfigError, match=r"is_fraud is known 7 days after the event, .* leak"):
        use_case(Rolling(key="terminal_id", agg=agg, windows=("1d",), delay=delay))


@pytest.mark.parametrize("delay", ["", "6d"])
@pytest.mark.parametrize("agg", [Count(), SinceFirst(), Max(column="amount"), Mean(column="amount")])
def test_a_condition_on_the_label_before_it_is_known_is_refused(delay: str, agg: Any) -> None:
    with pytest.raises(ConfigError, match=r"is_fraud is known 7 days after the event, .* leak"):
        use_case(Rolling(key="terminal_id", agg=agg, windows=("1d",), delay=delay, where=IS_FRAUD))


def test_last_labels_before_they_are_known_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"is_fraud is known 7 days after the event, .* leak"):
        use_case(Last(key="customer_id", fields=("amount", "is_fraud"), n=2))
    use_case(Last(key="customer_id", fields=("amount", "is_fraud"), n=2, delay="7d"))


@pytest.mark.parametrize(
    "feature",
    [Missing(column="is_fraud"), OneHot(column="is_fraud", values=("true",))],
    ids=["missing", "one-hot"],
)
def test_whether_there_is_a_label_is_no_feature(feature: Feature) -> None:
    with pytest.raises(ConfigError, match="the label is a feature"):
        use_case(feature)


@pytest.mark.parametrize("window", ["-1d", "0d", "1.5d", "1 week", ""])
def test_a_window_into_the_future_cannot_be_declared(window: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration"):
        use_case(Rolling(key="customer_id", agg=Count(), windows=(window,)))
    if window:
        with pytest.raises(ConfigError, match="is not a duration"):
            use_case(Rolling(key="customer_id", agg=Count(), windows=("1d",), delay=window))


def test_a_label_used_once_it_is_due_is_accepted() -> None:
    use_case(Rolling(key="terminal_id", agg=Rate(column="is_fraud"), windows=("1d",), delay="7d"))


def test_the_label_itself_is_no_feature() -> None:
    with pytest.raises(ConfigError, match="the label is a feature"):
        use_case(Value(column="is_fraud"))


@pytest.mark.parametrize("delay", ["", "7d"])
def test_the_label_is_no_key(delay: str) -> None:
    with pytest.raises(ConfigError, match=r"the label is a key: .* leak"):
        use_case(Rolling(key="is_fraud", agg=Count(), windows=("1d",), delay=delay))


def with_columns(*columns: Column) -> EventSchema:
    return msgspec.structs.replace(FRAUD.events, columns=(*FRAUD.events.columns, *columns))


def test_a_key_that_may_be_missing_is_refused() -> None:
    by_shop = Rolling(key="shop", agg=Count(), windows=("1d",))
    use_case(by_shop, events=with_columns(Column(name="shop", type="text")))
    with pytest.raises(ConfigError, match="shop cannot be a key: it is nullable"):
        use_case(by_shop, events=with_columns(Column(name="shop", type="text", nullable=True)))


@pytest.mark.parametrize(("key", "said"), [("amount", "it is decimal"), ("event_time", "it is timestamp")])
def test_a_key_that_is_a_quantity_is_refused(key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        use_case(Rolling(key=key, agg=Count(), windows=("1d",)))


@pytest.mark.parametrize("column", ["transaction_id", "customer_id", "event_time"])
def test_an_id_or_a_time_is_no_value(column: str) -> None:
    with pytest.raises(ConfigError, match=f"{column} is .*: a feature is a number"):
        use_case(Value(column=column))


@pytest.mark.parametrize("column", ["price", "is_weekend"])
def test_a_value_of_no_column_is_refused(column: str) -> None:
    with pytest.raises(ConfigError, match=f"no column '{column}'"):
        use_case(Value(column=column))


def test_a_rate_is_of_a_boolean_only() -> None:
    events = with_columns(Column(name="items", type="integer"), Column(name="abroad", type="boolean"))
    use_case(Rolling(key="customer_id", agg=Rate(column="abroad"), windows=("1d",)), events=events)
    with pytest.raises(ConfigError, match="items is integer: a rate is the share"):
        use_case(Rolling(key="customer_id", agg=Rate(column="items"), windows=("1d",)), events=events)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (Rolling(key="shop", agg=Count(), windows=("1d",)), "no column 'shop'"),
        (Rolling(key="customer_id", agg=Mean(column="price"), windows=("1d",)), "no column 'price'"),
        (Rolling(key="customer_id", agg=Sum(column="terminal_id"), windows=("1d",)), "only exact types"),
    ],
)
def test_an_aggregate_of_what_is_not_there_is_refused(feature: Rolling, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        use_case(feature)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (
            Rolling(key="customer_id", agg=Min(column="is_fraud"), windows=("1d",), delay="7d"),
            "only exact types",
        ),
        (Rolling(key="customer_id", agg=Nth(column="amount", place=1), windows=("1d",)), "use Last"),
        (Last(key="customer_id", fields=("terminal_id",), n=1), "a field of Last is an exact number"),
        (OneHot(column="amount", values=("1",)), "a category is text or a boolean"),
        (Calendar(part="hour", column="amount"), "a calendar shows a timestamp"),
    ],
)
def test_an_aggregate_of_a_wrong_type_is_refused(feature: Feature, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        use_case(feature)


@pytest.mark.parametrize(
    "condition",
    [
        Where(column="terminal_id", equals="7"),
        Where(column="is_fraud", equals=1),
        Where(column="amount", equals=7),
        Where(column="is_fraud", minimum=1),
        Where(column="event_time", minimum=0),
        Where(column="price", minimum=0),
    ],
    ids=str,
)
def test_a_condition_that_cannot_be_fulfilled_is_refused(condition: Where) -> None:
    with pytest.raises(ConfigError):
        use_case(Rolling(key="customer_id", agg=Count(), windows=("1d",), delay="7d", where=condition))


def test_the_time_since_the_event_in_hand_is_refused() -> None:
    with pytest.raises(ConfigError, match="is always 0"):
        use_case(Rolling(key="customer_id", agg=SinceLast(), windows=("1d",)))
    use_case(Rolling(key="customer_id", agg=SinceLast(), windows=("1d",), include_current=False))


def test_a_value_that_may_be_missing_needs_a_fallback() -> None:
    events = with_columns(Column(name="age", type="integer", nullable=True))
    with pytest.raises(ConfigError, match=r"age may be missing, .* fallback"):
        use_case(Value(column="age"), events=events)
    assert use_case(Value(column="age", fallback=-1), events=events).features.names == ("age_filled",)


@pytest.mark.parametrize(
    "feature",
    [
        Value(column="scenario", fallback=0.0),
        Missing(column="scenario"),
        Rolling(key="scenario", agg=Count(), windows=("1d",), delay="30d"),
        Rolling(key="terminal_id", agg=Max(column="scenario"), windows=("1d",), delay="30d"),
        Rolling(
            key="terminal_id",
            agg=Count(),
            windows=("1d",),
            delay="30d",
            where=Where(column="scenario", equals=2),
        ),
        Last(key="customer_id", fields=("scenario",), n=2, delay="30d"),
    ],
)
def test_what_is_known_with_the_label_is_for_judging_only(feature: Feature) -> None:
    with pytest.raises(ConfigError, match="reads scenario, known no sooner than the label"):
        use_case(feature)
