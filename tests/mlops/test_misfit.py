"""A value that does not fit its type is told in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from mlops.misfit import misfit


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.factor == 7:
            raise ValueError("seven is too much")


class World(msgspec.Struct, frozen=True):
    days: int = 1
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1
    terminals: int | None = None
    waves: tuple[Wave, ...] = ()
    rates: dict[str, float] = {}
    change: Literal["none", "pattern"] = "none"
    steady: bool = True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"days": "abc"}, ("'abc' is not a whole number", "days")),
        ({"days": None}, ("None is not a whole number", "days")),
        ({"nodes": 0}, ("0 is not a whole number of at least 1", "nodes")),
        ({"terminals": "x"}, ("'x' is not a whole number or null", "terminals")),
        ({"steady": 3}, ("3 is not true or false", "steady")),
        ({"waves": 3}, ("3 is not a list", "waves")),
        ({"waves": [{}, {"factor": "x"}]}, ("'x' is not a number", "waves[1].factor")),
        ({"waves": [{"fctor": 1}]}, ("Object contains unknown field `fctor`", "waves[0]")),
        ({"waves": [{"factor": 7}]}, ("seven is too much", "waves[0]")),
        ({"rates": {"a": "x"}}, ("it is not a number", "rates[...]")),
        ({"change": "storm"}, ("'storm' is not one of none, pattern", "change")),
        ("abc", ("'abc' is not an object", "")),
    ],
)
def test_what_does_not_fit_is_told_with_its_field(given: Any, told: tuple[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(given, World)
    assert misfit(error.value, given, World) == told
