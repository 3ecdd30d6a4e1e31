"""Layouts of foreign files: which ones make sense."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlops.errors import ConfigError
from mlops.layout import Layout, time_pattern


def test_a_pattern_is_a_regular_expression_with_a_group_for_each_directive() -> None:
    pattern = time_pattern("%d.%m.%Y (%H:%M) 100%%")
    assert pattern.directives == ("d", "m", "Y", "H", "M")
    assert re.match(pattern.regex, "1.12.2018 (7:05) 100%").groups() == ("1", "12", "2018", "7", "05")  # type: ignore[union-attr]
    assert re.match(pattern.named_regex, "1.12.2018 (7:05) 100%")["Y"] == "2018"  # type: ignore[index]
    assert not re.match(pattern.regex, "1x12x2018 (7:05) 100%")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("%d.%m.%Q", "cannot be used: %Q; .*use each once: %Y"),
        ("%d.%m.%Y %", "cannot be used: %$|cannot be used: %;"),
        ("%d.%d.%Y", "cannot be used: %d"),
        ("%H:%M", "has no day, month and year"),
        ("%d.%m.%Y %I:%M", "%I without %p"),
        ("%d.%m.%Y %y", "says a part twice"),
    ],
)
def test_a_pattern_that_says_no_time_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Layout(name="theirs", time=pattern)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"time": "fortnights"}, "time is 'fortnights'; it is a pattern .* or nanoseconds, microseconds"),
        ({"time": "seconds", "origin": "soon"}, "origin is 'soon'; write it as 2018-04-01"),
        ({"true": ("Y", "x"), "false": ("X",)}, "x is both true and false"),
        ({"separator": "||"}, "cannot separate fields: '||'"),
        ({"separator": "§"}, "cannot separate fields: '§'; name one ASCII character"),
        ({"separator": '"'}, "cannot separate fields"),
        ({"columns": {"amount": ""}}, "amount has no column"),
        ({"columns": {"amount": ()}}, "amount has no column"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"Layout theirs: {re.escape(said) if '|' in said else said}"):
        Layout(name="theirs", **fields)


def test_a_column_that_is_not_named_has_our_name() -> None:
    layout = Layout(name="theirs", columns={"amount": "AMT", "event_time": ("DATE", "TIME")})
    assert [layout.names(name) for name in ("amount", "event_time", "other")] == [
        ("AMT",), ("DATE", "TIME"), ("other",)
    ]  # fmt: skip


def test_an_origin_is_counted_in_utc() -> None:
    assert Layout(name="x", origin="1970-01-02").origin_us == 86_400_000_000
    assert Layout(name="x", origin="1970-01-01T02:00:00+02:00").origin_us == 0
