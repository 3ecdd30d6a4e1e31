"""Features in words."""

from __future__ import annotations

import pytest

from mlops.features import (
    Calendar,
    Count,
    Distinct,
    Feature,
    FeatureSet,
    Last,
    Missing,
    OneHot,
    Ratio,
    Rolling,
    SinceFirst,
    Value,
    Where,
)
from mlops.wording import definitions, duration_text, quantity


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (Value(column="age"), {"age": "age"}),
        (Value(column="age", fallback=-1), {"age_filled": "age, else -1"}),
        (Missing(column="age"), {"age_is_missing": "age is missing"}),
        (
            OneHot(column="plan", values=("A", "B+")),
            {"plan_is_A": "plan = A", "plan_is_B_": "plan = B+"},
        ),
        (
            Calendar(part="night", timezone="Europe/Paris"),
            {"is_night": "night of the event time in Europe/Paris"},
        ),
        (Calendar(part="year", column="since"), {"since_year": "year of since in UTC"}),
        (
            Rolling(key="card", agg=Count(), windows=("90m",)),
            {"card_count_90m": "count by card in (t − 90m, t]"},
        ),
        (
            Rolling(key="card", agg=Distinct(column="shop"), windows=("1d",), include_current=False),
            {"card_distinct_shop_1d": "distinct shop by card in (t − 1d, this event), else 0"},
        ),
        (
            Rolling(
                key="shop",
                agg=SinceFirst(),
                windows=("7d",),
                delay="1d",
                where=Where(column="amount", minimum=10, maximum=20.5),
                fallback=691200,
            ),
            {
                "shop_since_first_7d": "since first by shop in (t − 8d, t − 1d] where amount ≥ 10 and amount ≤ 20.5, "
                "else 691200"
            },
        ),
        (
            Last(key="card", fields=("amount",), n=2),
            {
                "card_last_amount_1": "amount of the newest event by card in (t − 30d, t], else 0",
                "card_last_amount_2": "amount of the newest event but 1 by card in (t − 30d, t], else 0",
            },
        ),
    ],
)
def test_a_feature_says_what_it_is_computed_from(feature: Feature, said: dict[str, str]) -> None:
    assert definitions(FeatureSet((feature,))) == said


def test_a_ratio_says_its_parts() -> None:
    features = FeatureSet(
        (Value(column="a"), Value(column="b"), Ratio(name="r", numerator="a", denominator="b"))
    )
    assert definitions(features)["r"] == "a / b, else 0"


def test_durations_are_written_as_they_are_declared() -> None:
    assert [duration_text(us) for us in (0, 1, 1_000_000, 90_000_000, 86_400_000_000)] == [
        "0",
        "1 µs",
        "1s",
        "90s",
        "1d",
    ]


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (3_024_000.0, "s", ("35", "days")),
        (7_200.0, "s", ("2", "h")),
        (90.0, "s", ("1.5", "min")),
        (0.0, "s", ("0", "s")),
        (1.0, "payments", ("1", "payment")),
        (2.0, "payments", ("2", "payments")),
        (1.0, "entries", ("1", "entry")),
        (1.0, "days", ("1", "day")),
        (1.0, "°C", ("1", "°C")),
        (0.0, "currency", ("0.00", "")),
        (12.5, "EUR", ("12.5", "EUR")),
        (0.0123, "share", ("1.23", "%")),
        (1.0, "0/1", ("yes", "")),
        (0.5, "0/1", ("0.5", "0/1")),
        (0.123456789, "", ("0.123457", "")),
    ],
)
def test_quantities_are_said_as_people_say_them(value: float, unit: str, said: tuple[str, str]) -> None:
    assert quantity(value, unit, {"currency": 2}) == said
