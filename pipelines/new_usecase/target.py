"""The target: two values, one of which is 1, or a quantity."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlops.errors import InputError
from mlops.layout import Layout
from mlops.schema import Column
from pipelines.canonical import typed
from pipelines.new_usecase.guesses import EMPTY, Guess

__all__ = ["TEST_SHARE", "Target", "find_target"]

TEST_SHARE = 0.3
_FEW = 10  # so many different whole numbers are classes rather than a quantity
_TRUE = {"1", "true", "yes", "y", "t"}
_SHOWN = 8


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be predicted.

    Fields:
        guess: its column, a boolean or a number.
        values: [n], 1 and 0, or quantities; NaN where unknown.
        positive, negative: as the file spells them; empty for a quantity.
        chosen: why it is this one that is positive.
    """

    guess: Guess
    values: NDArray[np.float64]
    positive: str = ""
    negative: str = ""
    chosen: str = ""

    @property
    def known(self) -> NDArray[np.bool_]:
        """[n], whether it is known."""
        return np.isfinite(self.values)

    @property
    def is_class(self) -> bool:
        """Whether there are two classes, not quantities."""
        return bool(self.positive)

    @property
    def positives(self) -> int:
        """How many rows are positive."""
        return int((self.values == 1).sum())

    @property
    def rarer(self) -> int:
        """How many rows are of the rarer class."""
        return min(self.positives, int(self.known.sum()) - self.positives)


def find_target(guesses: Mapping[str, Guess], header: str, positive: str, where: object) -> Target:
    """The target, which is the column `header`.

    Args:
        positive: the value that counts as 1, if it is said.

    Raises:
        InputError: there is no such column, or nothing can be learned from it.
    """
    guess = guesses.get(header)
    if guess is None:
        near = [name for name in guesses if name.lower() == header.lower()]
        raise InputError(
            f"no column {header!r}",
            where=where,
            todo=f"do you mean {near[0]}?" if near else f"there are {', '.join(guesses)}",
        )
    where = f"{where}, column {header}"
    if guess.type == EMPTY:
        raise InputError("is blank in all rows", where=where, todo="name a target that is known")
    counts = {_spelled(c["values"]): c["counts"] for c in pc.value_counts(guess.raw.drop_null()).to_pylist()}
    if guess.type == "boolean":
        counts = _without_case(counts)
    if len(counts) == 1:
        raise InputError(
            f"is {next(iter(counts))!r} in all rows", where=where, todo="bring rows of both classes"
        )
    if len(counts) == 2:
        return _classes(guess, counts, positive, where)
    if positive:
        raise InputError(
            f"has {len(counts)} different values, so none is positive",
            where=where,
            todo="leave out --positive",
        )
    if guess.type not in ("integer", "decimal", "float") or (guess.type == "integer" and len(counts) <= _FEW):
        listed = ", ".join(list(counts)[:_SHOWN]) + (" …" if len(counts) > _SHOWN else "")
        raise InputError(
            f"has {len(counts)} classes ({listed}), and only two classes or a quantity can be predicted",
            where=where,
            todo="make a column that says whether it is one of them, and name that",
        )
    numbers = guess.values.cast(pa.float64(), safe=False)
    return Target(guess=guess, values=numbers.to_numpy())


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_case(counts: Mapping[str, int]) -> dict[str, int]:
    """Yes and yes are one value; the commoner spelling stands for both."""
    found: dict[str, dict[str, int]] = {}
    for value, count in counts.items():
        found.setdefault(value.lower(), {})[value] = count
    return {max(same, key=same.__getitem__): sum(same.values()) for same in found.values()}


def _classes(guess: Guess, counts: Mapping[str, int], positive: str, where: object) -> Target:
    rare, common = sorted(counts, key=lambda value: (counts[value], value))
    usual = [value for value in counts if guess.type == "boolean" and value.lower() in (*_TRUE, "1.0")]
    if positive:
        same = [value for value in counts if value.lower() == positive.lower()]
        if not same:
            raise InputError(
                f"no value {positive!r}", where=where, todo=f"--positive is {rare!r} or {common!r}"
            )
        one, chosen = same[0], "as --positive said"
    elif usual:
        one, chosen = usual[0], "as it reads"
    else:
        one, chosen = rare, "the rarer value"
    other = common if one == rare else rare
    if guess.type != "boolean" or one not in usual:
        guess = _by_words(guess, one, other, where)
    numbers = guess.values.cast(pa.float64())
    return Target(guess=guess, values=numbers.to_numpy(), positive=one, negative=other, chosen=chosen)


def _by_words(guess: Guess, one: str, other: str, where: object) -> Guess:
    """The column as a boolean in these words."""
    raw = guess.raw
    if not (pa.types.is_string(raw.type) or pa.types.is_integer(raw.type)):
        raise InputError(
            f"{one} cannot be the positive value of a column of {raw.type}",
            where=where,
            todo="write it as 1 and 0, or as text",
        )
    layout = Layout(name="", true=(one,), false=(other,))
    values = typed(Column(name="x", type="boolean"), raw, layout).cast(pa.bool_())
    return msgspec.structs.replace(guess, type="boolean", values=values, decimals=0, layout=layout, also="")
