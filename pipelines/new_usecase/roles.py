"""Which columns are more than inputs: the target, the id, the event time, the keys of windows."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from mlops.errors import InputError
from pipelines.new_usecase.guesses import Guess
from pipelines.new_usecase.names import slug

__all__ = ["ID_NAME", "Roles", "check_roles", "found_id", "is_unique"]

ID_NAME = re.compile(r"(^|_)(id|uuid|guid|key|nr|no|num|number|code)$")


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """What columns are for, by header; `positive` is the value of the target that is true, if it is said."""

    target: str
    positive: str = ""
    id: str = ""
    time: str = ""
    keys: tuple[str, ...] = ()


def is_unique(guess: Guess) -> bool:
    """Whether each row has another value."""
    return not guess.blanks and guess.distinct == len(guess.values) > 1


def found_id(guesses: Mapping[str, Guess], roles: Roles) -> str:
    """The header of the first column that holds another value in each row and is called as ids are; else empty."""
    played = {roles.target, roles.time, *roles.keys}
    ids = (
        header
        for header, guess in guesses.items()
        if header not in played
        and guess.type in ("integer", "text")
        and ID_NAME.search(slug(header))
        and is_unique(guess)
    )
    return next(ids, "")


def check_roles(guesses: Mapping[str, Guess], roles: Roles, where: object) -> None:
    """Refuse columns that are not there or cannot be what they are said to be.

    Raises:
        InputError: see above.
    """
    named = [("--id", roles.id), ("--time", roles.time), *(("--key", key) for key in roles.keys)]
    named = [(option, header) for option, header in named if header]
    for option, header in named:
        if header not in guesses:
            raise InputError(
                f"no column {header!r} for {option}", where=where, todo=f"there are {', '.join(guesses)}"
            )
    headers = [roles.target, *(header for _, header in named)]
    if twice := {header for header in headers if headers.count(header) > 1}:
        raise InputError(f"{min(twice)} is named twice", where=where, todo="let a column be one thing")
    if roles.keys and not roles.time:
        raise InputError(
            "windows by a key look back in time", where=where, todo="name the column of it: --time COLUMN"
        )
    if roles.id and not is_unique(guesses[roles.id]):
        raise InputError(
            "is no id: rows share a value, or have none",
            where=f"{where}, column {roles.id}",
            todo="leave out --id, and rows are numbered; group by it with --key",
        )
    if roles.time and guesses[roles.time].type != "timestamp":
        raw = guesses[roles.time].raw.drop_null()
        raise InputError(
            f"is no time that can be read, such as {str(raw[0])!r}" if len(raw) else "is blank in all rows",
            where=f"{where}, column {roles.time}",
            todo="write times as 2018-07-25 13:05:00",
        )
    for header in (roles.id, *roles.keys):
        if header and guesses[header].type not in ("integer", "text", "boolean"):
            raise InputError(
                f"is a {guesses[header].type}, and no id or key", where=f"{where}, column {header}"
            )
