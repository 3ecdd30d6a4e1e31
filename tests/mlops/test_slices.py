"""Slices part the events by bands and values; by kind of positive they keep all that is not positive."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.errors import ConfigError
from mlops.slices import MISSING, Slice, cut


def parts(one: Slice, values: np.ndarray, **kinds: object) -> dict[str, list[int]]:
    found = cut((one,), {one.column or one.feature: values}, **kinds)
    assert all(part.name == one.name for part in found)
    return {part.value: np.flatnonzero(part.rows).tolist() for part in found}


def test_bands_begin_with_their_border_and_the_outer_ones_are_open() -> None:
    amounts = np.array([0.0, 9.99, 10.0, 99.99, 100.0, 5_000.0])
    found = parts(Slice(name="amount", column="amount", bands=(10, 100)), amounts)
    assert found == {"below 10": [0, 1], "10 to 100": [2, 3], "from 100": [4, 5]}
    named = Slice(name="amount", column="amount", bands=(10,), labels=("small", "large"))
    assert parts(named, amounts) == {"small": [0, 1], "large": [2, 3, 4, 5]}


def test_values_are_told_apart_and_others_are_in_no_part() -> None:
    night = Slice(name="time", feature="is_night", values=(1, 0), labels=("night", "day"))
    assert parts(night, np.array([0, 1, 0, 2], np.float32)) == {"night": [1], "day": [0, 2]}
    flag = Slice(name="online", column="online", values=(True, False))
    assert parts(flag, np.array([True, False, True])) == {"yes": [0, 2], "no": [1]}


def test_every_value_is_a_part_where_none_is_named_and_rare_ones_are_taken_together() -> None:
    region = Slice(name="region", column="region")
    values = np.array(["south", None, "north", "south"], object)
    assert parts(region, values) == {"north": [2], "south": [0, 3], MISSING: [1]}
    many = np.array([*range(20), *range(20), 50, 51])
    found = parts(region, many)
    assert len(found) == 21
    assert found["others"] == [40, 41]


def test_what_is_not_known_is_a_part_and_in_no_band() -> None:
    amount = Slice(name="amount", column="amount", bands=(10,))
    assert parts(amount, np.array([5.0, np.nan, 20.0])) == {"below 10": [0], "from 10": [2], MISSING: [1]}


def test_a_kind_of_positive_stands_among_all_that_is_not_positive() -> None:
    scenario = Slice(name="scenario", column="scenario", values=(0, 1, 2, 3), labels=("none", "a", "b", "c"))
    positive = np.array([False, True, True, False, True])
    found = parts(scenario, np.array([0, 1, 2, 0, 1]), positive=positive, details=("scenario",))
    assert found == {"a": [0, 1, 3, 4], "b": [0, 2, 3]}


def test_where_the_kind_of_no_positive_is_known_there_are_no_parts() -> None:
    scenario = Slice(name="scenario", column="scenario")
    positive = np.array([False, True, True])
    assert parts(scenario, np.full(3, np.nan), positive=positive, details=("scenario",)) == {}


def test_a_slice_of_what_the_data_does_not_have_has_no_parts() -> None:
    assert cut((Slice(name="region", column="region"),), {"amount": np.zeros(3)}) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "needs a column or a feature"),
        ({"column": "a", "feature": "b"}, "and not both"),
        ({"column": "a", "bands": (1,), "values": (1,)}, "has bands and values"),
        ({"column": "a", "bands": (2, 1)}, "do not rise"),
        ({"column": "a", "bands": (1, 2), "labels": ("x", "y")}, "2 labels for 3 parts"),
        ({"column": "a", "labels": ("x",)}, "1 labels for 0 parts"),
    ],
)
def test_a_slice_that_makes_no_sense_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Slice(name="s", **fields)
