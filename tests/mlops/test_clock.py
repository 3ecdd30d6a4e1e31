"""The clock of a time zone against Python's own, for one time and for many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.clock import Part, calendar_part, calendar_parts
from mlops.errors import ConfigError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Half-hour zones, changes at half past (Lord Howe), a skipped day (Apia), seconds in the offset (Brussels before 1892).
ZONES = ("UTC", "Europe/Brussels", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
CHANGES = [
    datetime(2024, 3, 31, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC),
    datetime(2024, 4, 6, 15, tzinfo=UTC),
    datetime(2024, 10, 5, 15, 30, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
]
NEAR_A_CHANGE = st.builds(
    lambda moment, hours, us: moment + timedelta(hours=hours, microseconds=us),
    st.sampled_from(CHANGES),
    st.integers(-26, 26),
    st.sampled_from([-1, 0, 1, 1_800_000_000 - 1, 1_800_000_000]),
)
EVER = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(NEAR_A_CHANGE | EVER, min_size=1, max_size=20),
    st.sampled_from(ZONES),
    st.sampled_from(get_args(Part)),
)
def test_every_part_is_what_python_s_clock_shows(moments: list[datetime], zone: str, part: Part) -> None:
    times = [(moment - EPOCH) // timedelta(microseconds=1) for moment in moments]
    shown = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    expected = {
        "weekend": [float(moment.weekday() >= 5) for moment in shown],
        "night": [float(moment.hour <= 6) for moment in shown],
        "weekday": [float(moment.weekday()) for moment in shown],
    }.get(part) or [float(getattr(moment, part)) for moment in shown]
    assert calendar_parts(part, np.array(times), zone).tolist() == expected
    assert [calendar_part(part, time, zone) for time in times] == expected


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no time zone 'Europe/Atlantis'"):
        calendar_part("hour", 0, "Europe/Atlantis")
