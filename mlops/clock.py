"""Parts of a date and time as the clock of a time zone shows them: one rule for a single time and for a whole column.

The zone's offset from UTC is looked up once an hour of UTC. It rarely changes inside one (half-hour zones do change
there); then it is looked up for each time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from mlops.errors import ConfigError

__all__ = ["Part", "calendar_part", "calendar_parts"]

Part = Literal["weekend", "night", "hour", "weekday", "day", "month", "year"]
_Whole = TypeVar("_Whole", int, NDArray[np.int64])

_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The hours that Python's calendar has, less a day at both ends, so that any zone can show them.
_FIRST_HOUR, _LAST_HOUR = -719_161 * 24, 2_932_895 * 24


def calendar_part(part: Part, time_us: int, timezone: str) -> float:
    """A part of one time.

    Args:
        time_us: microseconds since 1970, UTC.
        timezone: a name of the IANA database, such as `Europe/Brussels`.

    Raises:
        ConfigError: there is no such zone.
    """
    offset = _offset_in(timezone, time_us // _HOUR_US)
    if offset is None:
        offset = _offset_at(timezone, time_us)
    return float(_part(part, time_us + offset))


def calendar_parts(part: Part, times_us: NDArray[np.int64], timezone: str) -> NDArray[np.float64]:
    """A part of each of many times [n]; otherwise as `calendar_part`."""
    hours, places = np.unique(times_us // _HOUR_US, return_inverse=True)
    found = [_offset_in(timezone, hour) for hour in hours.tolist()]
    offsets = np.array([offset or 0 for offset in found], np.int64)[places]
    for number in (number for number, offset in enumerate(found) if offset is None):
        rows = np.flatnonzero(places == number)
        offsets[rows] = [_offset_at(timezone, time) for time in times_us[rows].tolist()]
    return _part(part, times_us + offsets).astype(np.float64)


@lru_cache(maxsize=100_000)
def _offset_in(timezone: str, hour: int) -> int | None:
    """The offset from UTC in an hour of UTC, in microseconds; None if it changes there."""
    first = _offset_at(timezone, hour * _HOUR_US)
    return first if first == _offset_at(timezone, (hour + 1) * _HOUR_US - 1) else None


def _offset_at(timezone: str, time_us: int) -> int:
    time_us = min(max(time_us, _FIRST_HOUR * _HOUR_US), _LAST_HOUR * _HOUR_US)
    offset = (_EPOCH + timedelta(microseconds=time_us)).astimezone(_zone(timezone)).utcoffset()
    return (offset or timedelta()) // timedelta(microseconds=1)


@cache
def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"no time zone {timezone!r}", todo="name one such as Europe/Brussels") from error


def _part(part: Part, local_us: _Whole) -> _Whole:
    """A part of local time, of a number or of an array alike."""
    hour: _Whole = local_us // _HOUR_US % 24
    days: _Whole = local_us // (24 * _HOUR_US)
    weekday: _Whole = (days + 3) % 7  # 1970-01-01 was a Thursday
    if part == "hour":
        return hour
    if part == "night":
        night: _Whole = (hour <= 6) * 1
        return night
    if part == "weekday":
        return weekday
    if part == "weekend":
        weekend: _Whole = (weekday >= 5) * 1
        return weekend
    return _date_part(part, days)


def _date_part(part: Literal["day", "month", "year"], days: _Whole) -> _Whole:
    """Days since 1970 to a part of the Gregorian date, in eras of 400 years that start on 1 March.

    Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013), civil_from_days.
    """
    era: _Whole = (days + 719_468) // 146_097
    day_of_era: _Whole = (days + 719_468) % 146_097
    year: _Whole = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year: _Whole = day_of_era - (365 * year + year // 4 - year // 100)
    from_march: _Whole = (5 * day_of_year + 2) // 153
    if part == "day":
        return day_of_year - (153 * from_march + 2) // 5 + 1
    month: _Whole = (from_march + 2) % 12 + 1
    return month if part == "month" else year + era * 400 + (month <= 2)
