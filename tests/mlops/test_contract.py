"""What a use case may not say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlops.contract import UseCase, load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.features import Count, Feature, FeatureSet, Mean, Rate, Rolling, Sum, Value
from mlops.schema import Column, EventSchema

FRAUD = load_use_case("usecases.fraud")


def use_case(*features: Feature, **changes: Any) -> UseCase:
    return msgspec.structs.replace(FRAUD, features=FeatureSet(features), **changes)


@pytest.mark.parametrize("delay", ["", "1d", "6d", "167h"])
@pytest.mark.parametrize("agg", [Rate(column="is_fraud"), Sum(column="is_fraud"), Mean(column="is_fraud")])
def test_a_label_used_before_it_is_known_is_refused(delay: str, agg: Any) -> None:
    with pytest.raises(ConfigError, match=r"is_fraud is known 7 days after the event, .* leak"):
        use_case(Rolling(key="terminal_id", agg=agg, windows=("1d",), delay=delay))


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


def test_a_use_case_without_candidates_is_refused() -> None:
    with pytest.raises(ConfigError, match="no candidates"):
        msgspec.structs.replace(FRAUD, candidates=())


@pytest.mark.parametrize("package", ["usecases.nonesuch", "usecases", "usecases.fraud.events"])
def test_a_package_that_is_no_use_case_is_named(package: str) -> None:
    with pytest.raises(ConfigError, match=package.rpartition(".")[2]):
        load_use_case(package)


@pytest.mark.parametrize("package", ["../x", "", ".fraud", "usecases/fraud", "use cases"])
def test_what_cannot_be_a_package_s_name_is_refused(package: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a module"):
        load_use_case(package)


def test_a_dotted_path_leads_to_what_it_names() -> None:
    assert load_dotted("mlops.features:Count") is Count
    with pytest.raises(ConfigError, match="has no 'Counted'"):
        load_dotted("mlops.features:Counted")
