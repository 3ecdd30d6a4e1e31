"""The demo's calendar, in days from the first simulated day (0), and the world that it plays in."""

from __future__ import annotations

from typing import Any

__all__ = [
    "CALENDAR_KNOBS",
    "CHANGE_DAY",
    "DEMO_WORLD",
    "LAST_LABELS",
    "LAST_REPLAYED",
    "RETRAIN_DAY",
    "SERVE_DAY",
    "TEST_DAY",
    "TRAIN_DAY",
]

TRAIN_DAY = 37  # the longest window (30 days) and the labels' delay (7) lie before it
TEST_DAY = 51
SERVE_DAY = 58
CHANGE_DAY = 65
RETRAIN_DAY = 93  # training from the change on, delay, test, and the labels of the last test day
LAST_REPLAYED = 99
LAST_LABELS = 106

DEMO_WORLD: dict[str, Any] = {
    "customers": 1000,
    "days": LAST_LABELS + 1,
    "change": "new-pattern",
    "change_day": CHANGE_DAY,
    "defects": 0.002,
    "defects_until_day": SERVE_DAY,
}

CALENDAR_KNOBS = {"days", "change_day", "defects_until_day"}
