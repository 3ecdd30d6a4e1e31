"""What tuning may try for a parameter: a range of whole numbers, a range of real ones, or a few options.

A candidate declares `search={"trees": Int(50, 400), "rate": Float(1e-3, 0.3, log=True)}`: the parameters that may be
changed, each with its bounds, both included. Each stands in the candidate's `params` as well, with the value that
tuning starts from and has to better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from mlops.errors import ConfigError

__all__ = ["Choice", "Float", "Int", "Option", "Space", "check_search"]

Option = str | int | float | bool | None | tuple[int, ...]


class Int(msgspec.Struct, frozen=True, tag="int"):
    """Whole numbers from `low` to `high` in steps of `step`; with `log` a factor counts, not a difference.

    Raises:
        ConfigError: a bound is no whole number, nothing lies between them, or the steps do not end on `high`.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        if not all(type(number) is int for number in (self.low, self.high, self.step)):
            raise ConfigError(
                "bounds and step are whole numbers", where=self, todo="use Float for other numbers"
            )
        _check_order(self)
        if self.step < 1 or (self.high - self.low) % self.step:
            raise ConfigError(
                f"steps of {self.step} do not lead from {self.low} to {self.high}",
                where=self,
                todo="choose a step of at least 1 that divides the distance",
            )
        if self.log and (self.low < 1 or self.step != 1):
            raise ConfigError("a range by factors begins at 1 or above and has no step", where=self)

    def holds(self, value: object) -> bool:
        """Whether tuning could choose `value`."""
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0


class Float(msgspec.Struct, frozen=True, tag="float"):
    """Real numbers from `low` to `high`; with `log` a factor counts, not a difference.

    Raises:
        ConfigError: a bound is no finite number, or nothing lies between them.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not all(
            type(number) in (int, float) and math.isfinite(number) for number in (self.low, self.high)
        ):
            raise ConfigError("bounds are finite numbers", where=self)
        _check_order(self)
        if self.log and self.low <= 0:
            raise ConfigError("a range by factors begins above 0", where=self)

    def holds(self, value: object) -> bool:
        """Whether tuning could choose `value`."""
        return type(value) in (int, float) and self.low <= value <= self.high  # type: ignore[operator]


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """One of at least two options, which have no order: words, numbers, None, or tuples such as layer widths.

    Raises:
        ConfigError: not a tuple, fewer than two, two alike, or one of another type.
    """

    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.options, tuple) or len(self.options) < 2:
            raise ConfigError("a choice needs a tuple of at least two options", where=self)
        for option in self.options:
            parts = option if isinstance(option, tuple) else (option,)
            whole = not isinstance(option, tuple) or all(type(part) is int for part in option)
            if not whole or not all(part is None or isinstance(part, str | int | float) for part in parts):
                raise ConfigError(
                    f"{option!r} is no option",
                    where=self,
                    todo="choose among words, numbers, None, and tuples of whole numbers",
                )
        # 1, 1.0 and True are equal, and mean different things to a builder: told apart by how they are written.
        if any(a == b for a, b in pairwise(sorted(map(repr, self.options)))):
            raise ConfigError("has an option twice", where=self)

    def holds(self, value: object) -> bool:
        """Whether tuning could choose `value`."""
        return repr(value) in map(repr, self.options)


Space = Int | Float | Choice


def _check_order(space: Int | Float) -> None:
    if not space.low < space.high:
        raise ConfigError(
            f"nothing lies between {space.low} and {space.high}",
            where=space,
            todo="write the lower bound first; a parameter that is not tuned belongs in `params`",
        )


def check_search(search: Mapping[str, Space], params: Mapping[str, Any], where: str) -> None:
    """Refuse what is not a search space around `params`.

    Raises:
        ConfigError: a value of another type, a name that is not the builder's to choose, or a parameter that `params`
            gives no value to start from, or one out of bounds.
    """
    for name, space in search.items():
        if not isinstance(space, Space):
            raise ConfigError(
                f"search of {name} is {space!r}", where=where, todo="declare it as Int, Float or Choice"
            )
        if not name.isidentifier() or name in ("seed", "n_features"):
            raise ConfigError(
                f"{name!r} cannot be tuned", where=where, todo="name a parameter of the builder"
            )
        if name not in params:
            raise ConfigError(
                f"{name} is to be tuned and has no value to start from",
                where=where,
                todo="give it one in `params`",
            )
        if not space.holds(params[name]):
            raise ConfigError(
                f"{name} = {params[name]!r} is not within {space}", where=where, todo="change one of them"
            )
