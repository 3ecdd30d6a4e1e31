"""A schema that makes no sense is refused where it is declared."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlops.errors import ConfigError
from mlops.expectations import Expectation, Freshness, NullShare, QuarantinedShare, TrueShare, Volume
from mlops.schema import Column, EventSchema

ID, TIME = Column(name="id", type="id"), Column(name="at", type="timestamp")


def schema(*columns: Column, **fields: Any) -> EventSchema:
    return EventSchema(id="id", time="at", columns=(ID, TIME, *columns), **fields)


def test_expectations_and_values_travel_as_json() -> None:
    declared = schema(
        Column(name="kind", type="text", nullable=True, optional=True, values=("a", "b")),
        Column(name="fraud", type="boolean", nullable=True),
        unknown_fields="ignore",
        expectations=(
            Freshness(max_age_days=2),
            Volume(min_rows=10),
            NullShare(column="kind", at_most=0.5),
            TrueShare(column="fraud", at_most=0.2),
            QuarantinedShare(at_most=0.1),
        ),
    )
    assert msgspec.json.decode(msgspec.json.encode(declared), type=EventSchema) == declared


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Column(name="x", type="integer", optional=True), "optional, but not nullable"),
        (Column(name="x", type="id", values=("a",)), "has values, but is id"),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(column: Column, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        schema(column)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Freshness(max_age_days=0),
        lambda: Volume(min_rows=0),
        lambda: Volume(max_fall=1.5),
        lambda: Volume(min_days=0),
        lambda: NullShare(column="id", at_most=-0.1),
        lambda: TrueShare(column="id", at_least=0.6, at_most=0.5),
        lambda: QuarantinedShare(at_most=2),
        lambda: schema(expectations=(TrueShare(column="at"),)),
        lambda: schema(expectations=(NullShare(column="nowhere", at_most=0.5),)),
    ],
)
def test_an_expectation_that_nothing_can_meet_or_judge_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_an_unknown_kind_of_expectation_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"type": "hope"}', type=Expectation)
