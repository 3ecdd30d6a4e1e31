"""How a foreign file writes the same events: its names for our columns, its times, booleans and numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from mlops.errors import ConfigError

__all__ = ["MICROSECONDS", "Layout", "TimePattern", "time_pattern"]

MICROSECONDS = {
    "microseconds": 1,
    "milliseconds": 1_000,
    "seconds": 1_000_000,
    "minutes": 60_000_000,
    "hours": 3_600_000_000,
    "days": 86_400_000_000,
}
"""The units that a time may be counted in, in microseconds; nanoseconds besides."""

_DIRECTIVES = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "[0-9]{1,2}",
    "b": "[A-Za-z]{3}",
    "d": "[0-9]{1,2}",
    "H": "[0-9]{1,2}",
    "I": "0?[1-9]|1[0-2]",
    "p": "[AaPp][Mm]",
    "M": "[0-9]{1,2}",
    "S": "[0-9]{1,2}",
    "f": "[0-9]{1,9}",
    "z": "Z|[+-][0-9]{2}:?[0-9]{2}",
}


class TimePattern(msgspec.Struct, frozen=True):
    """A pattern as a regular expression that Java, RE2 and Python read alike, and the directive of each group.

    `named_regex` is the same with groups that are called as their directives.
    """

    regex: str
    named_regex: str
    directives: tuple[str, ...]


def time_pattern(pattern: str) -> TimePattern:
    """Compile a pattern such as %d.%m.%Y %H:%M.

    The directives are strptime's %Y %y %m %b %d %H %I %p %M %S %f %z and %%; months are named in English.

    Raises:
        ConfigError: another directive, one that comes twice, or no full date.
    """
    parts: list[str] = []
    directives: list[str] = []
    for text in re.findall(r"%.?|[^%]+", pattern, re.DOTALL):
        if text == "%%" or not text.startswith("%"):
            parts.append(re.escape("%" if text == "%%" else text))
        elif text[1:] not in _DIRECTIVES or text[1:] in directives:
            raise ConfigError(
                f"cannot be used: {text}", where=f"time {pattern!r}", todo=f"use each once: {_listed()}"
            )
        else:
            parts.append(f"(?P<{text[1:]}>{_DIRECTIVES[text[1:]]})")
            directives.append(text[1:])
    there = set(directives)
    if not ("d" in there and there & {"Y", "y"} and there & {"m", "b"}):
        raise ConfigError("has no day, month and year", where=f"time {pattern!r}", todo=f"use {_listed()}")
    if ("I" in there) != ("p" in there) or {"H", "I"} <= there or {"Y", "y"} <= there or {"m", "b"} <= there:
        raise ConfigError("says a part twice, or %I without %p", where=f"time {pattern!r}")
    named = f"^{''.join(parts)}$"
    return TimePattern(re.sub(r"\?P<\w>", "", named), named, tuple(directives))


def _listed() -> str:
    return " ".join(f"%{name}" for name in _DIRECTIVES)


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A foreign layout of the same events.

    Fields:
        columns: our column name → theirs; a column that is not named has our name. Several of theirs, such as a date
            and a time of day, are joined by a space. Their other columns are ignored.
        time: how times are written: "" is ISO 8601; a unit (see `MICROSECONDS`, or nanoseconds) counts it since
            `origin`; else a pattern (see `time_pattern`). UTC, unless the pattern reads an offset.
        origin: the ISO date or time that units are counted from.
        true, false: words for them, besides true, false, 1 and 0; case does not matter.
        missing: texts that stand for no value, such as NA; case matters.
        decimal_comma: numbers are written 1.234,56.
        separator: what stands between the fields of CSV; by default it is found out.
        encoding: of text, as Python calls it; UTF-8 unless said. Only of a layout that is given with the files: of
            several, none is known before the text is read.

    Raises:
        ConfigError: a field makes no sense.
    """

    name: str
    columns: dict[str, str | tuple[str, ...]] = {}
    time: str = ""
    origin: str = "1970-01-01"
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    decimal_comma: bool = False
    separator: str = ""
    encoding: str = ""

    def __post_init__(self) -> None:
        where = f"Layout {self.name}"
        for ours, theirs in self.columns.items():
            if not theirs or not all(theirs):
                raise ConfigError(f"{ours} has no column", where=where)
        if self.time and not self.counts_time:
            if "%" not in self.time:
                units = ", ".join(("nanoseconds", *MICROSECONDS))
                raise ConfigError(
                    f"time is {self.time!r}",
                    where=where,
                    todo=f"it is a pattern such as %d.%m.%Y, or {units}",
                )
            time_pattern(self.time)
        self.origin_us  # noqa: B018  raises where it is no date
        if twice := {word.lower() for word in self.true} & {word.lower() for word in self.false}:
            raise ConfigError(f"{', '.join(sorted(twice))} is both true and false", where=where)
        if len(self.separator.encode()) > 1 or self.separator in ('"', "\n", "\r"):
            raise ConfigError(
                f"cannot separate fields: {self.separator!r}", where=where, todo="name one ASCII character"
            )

    @property
    def counts_time(self) -> bool:
        """Whether times are numbers."""
        return self.time == "nanoseconds" or self.time in MICROSECONDS

    @property
    def origin_us(self) -> int:
        """The origin in microseconds since 1970."""
        try:
            moment = datetime.fromisoformat(self.origin)
        except ValueError:
            raise ConfigError(
                f"origin is {self.origin!r}", where=f"Layout {self.name}", todo="write it as 2018-04-01"
            ) from None
        delta = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds

    def names(self, ours: str) -> tuple[str, ...]:
        """Their columns for one of ours."""
        theirs = self.columns.get(ours, ours)
        return (theirs,) if isinstance(theirs, str) else theirs
