"""A search space that makes no sense is refused where it is declared, with what to do about it."""

from __future__ import annotations

import sys
from subprocess import run
from typing import Any

import msgspec
import pytest

from mlops.errors import ConfigError
from mlops.search import Choice, Float, Int, Space, check_search


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Int(5, 5), "nothing lies between 5 and 5; write the lower bound first"),
        (lambda: Int(9, 3), "nothing lies between 9 and 3"),
        (lambda: Int(1.5, 3), "whole numbers; use Float"),
        (lambda: Int(True, 3), "whole numbers"),
        (lambda: Int(1, 10, step=2), "steps of 2 do not lead from 1 to 10"),
        (lambda: Int(1, 10, step=0), "steps of 0"),
        (lambda: Int(0, 10, log=True), "begins at 1 or above"),
        (lambda: Int(1, 11, log=True, step=5), "has no step"),
        (lambda: Float(0.0, 0.0), "nothing lies between"),
        (lambda: Float(0.0, float("inf")), "finite numbers"),
        (lambda: Float(0.0, "1"), "finite numbers"),
        (lambda: Float(0.0, 1.0, log=True), "begins above 0"),
        (lambda: Choice(("one",)), "a tuple of at least two options"),
        (lambda: Choice(["one", "two"]), "a tuple of at least two options"),
        (lambda: Choice(("one", "two", "one")), "has an option twice"),
        (lambda: Choice(((64, 32), ("a",))), r"\('a',\) is no option"),
        (lambda: Choice(({}, {1: 2})), "{} is no option"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize(
    ("space", "held", "other"),
    [
        (Int(10, 30, step=10), (10, 20, 30), (0, 15, 40, 20.0, True, "20")),
        (Int(1, 1_000, log=True), (1, 7, 1_000), (0, 1_001)),
        (Float(0.1, 1), (0.1, 0.5, 1, 1.0), (0, 1.1, float("nan"), "0.5", None)),
        (Choice((1, True, None, "a", (64, 32))), (1, True, None, "a", (64, 32)), (0, False, "b", (64,), 1.0)),
    ],
)
def test_a_space_holds_what_lies_in_it_bounds_included(
    space: Space, held: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    assert all(space.holds(value) for value in held)
    assert not any(space.holds(value) for value in other)


@pytest.mark.parametrize(
    ("search", "params", "said"),
    [
        ({"trees": (50, 400)}, {"trees": 100}, r"search of trees is \(50, 400\); declare it as Int"),
        ({"trees": Int(50, 400)}, {}, "trees is to be tuned and has no value to start from"),
        ({"trees": Int(50, 400)}, {"trees": 10}, r"trees = 10 is not within Int\(low=50, high=400"),
        ({"seed": Int(0, 9)}, {"seed": 0}, "'seed' cannot be tuned"),
        ({"a-b": Int(0, 9)}, {"a-b": 0}, "'a-b' cannot be tuned"),
    ],
)
def test_a_search_that_does_not_fit_the_declared_parameters_is_refused(
    search: Any, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^candidate x: .*{said}"):
        check_search(search, params, "candidate x")


def test_a_search_around_the_declared_parameters_is_taken() -> None:
    check_search({"trees": Int(50, 400), "loss": Choice(("a", "b"))}, {"trees": 50, "loss": "b", "z": 0}, "x")


def test_spaces_are_written_and_read_as_json() -> None:
    search: dict[str, Space] = {
        "a": Int(1, 5),
        "b": Float(0.1, 2, log=True),
        "c": Choice((None, "x", (64, 32))),
    }
    assert msgspec.json.decode(msgspec.json.encode(search), type=dict[str, Space]) == search


def test_declaring_a_search_imports_no_optuna() -> None:
    code = "import sys, mlops.search; sys.exit('optuna' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
