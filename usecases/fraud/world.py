"""The simulated world: its size, what comes over it, how it is delivered, and where its randomness comes from.

Every number is drawn from a counter-based stream of its own per (seed, process, day). So a day does not
depend on how many days follow, on who simulates it, or on what changes later: a longer world begins with the
shorter one, and a knob adds to the world or takes from it without another draw of the rest.

A world of another size than the published one (5,000 customers, 10,000 terminals, a square with side 100) is
a cut-out or an extension of it at the same density: the side grows with the square root of the number of
terminals, and the counts of bad terminals and compromised customers with their populations. So customers have
as many terminals in reach (fewer near the edge), and as many payments are frauds, in a world of any size.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from enum import IntEnum
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.errors import ConfigError

__all__ = ["DEFECTS", "MALFORMED", "Change", "Floats", "Ints", "Process", "Wave", "World"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Change = Literal["none", "new-pattern", "unlearnable"]
_CHANGES = ("none", "new-pattern", "unlearnable")
FileFormat = Literal["parquet", "csv"]
_FORMATS = ("parquet", "csv")

DEFECTS = (
    "duplicate",
    "missing_amount",
    "negative_amount",
    "missing_customer",
    "missing_time",
    "time_out_of_range",
)
MALFORMED = ("malformed_amount", "malformed_time", "malformed_label")  # text, for which only CSV has room

_SHORTEST_DAY = date(2000, 12, 21)


class Process(IntEnum):
    """The sources of randomness; a number, once given, is never given to another."""

    CUSTOMERS = 0
    TERMINALS = 1
    SPENDING = 2
    BAD_TERMINALS = 3
    COMPROMISED_CUSTOMERS = 4
    COMPROMISED_PAYMENTS = 5
    CARD_TESTING = 6
    UNLEARNABLE = 7
    DEFECTS = 8
    NEW_TERMINALS = 9
    NEW_TERMINAL_PAYMENTS = 10
    BAD_NEW_TERMINALS = 11
    FRAUD_WAVES = 12
    BUSY_SEASON = 13
    QUIET_SEASON = 14
    LABEL_NOISE = 15
    LATE_EVENTS = 16


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """A fraud wave: on `days` days from `first_day` on, `factor` times as many customers are compromised."""

    first_day: int
    days: int
    factor: float


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. Days count from 0 and are the TX_TIME_DAYS of the published layout.

    Fields:
        seed: same seed, same world.
        customers: cards; one card a customer.
        terminals: two a customer unless given.
        days: how many days; the first one is `start`.
        start: ISO date.
        change_day: first day of the changed world; needed by every change but "none".
        change: "none": steady. "new-pattern": card testing (a few cards a day get a burst of small payments,
            all frauds), and all other amounts rise by `price_rise`, the threshold of scenario 1 with them.
            "unlearnable": about as many more frauds, but they are any payments of any cards, unaltered, so
            that no feature can tell them.
        tested_cards: cards under card testing per day and 1,000 customers; with 0, "new-pattern" is a change of
            prices only.
        price_rise: factor on amounts after the change "new-pattern".
        fraud_waves: spans of days on which more customers are compromised than else.
        spending_drift: growth of all amounts a year, a little every day, the threshold of scenario 1 with them.
        new_terminals: terminals that open per day and 10,000; they are used, and turn bad, as the others.
        weekend_volume: factor on the number of payments on Saturdays and Sundays.
        yearly_season: swing of the number of payments over the year, as a share, largest on 21 December.
        unlabelled_days: days at the end of the world whose labels are not known yet, and blank.
        label_noise: share of labels that say the opposite of the truth, which TX_FRAUD_SCENARIO keeps.
        late_events: share of events that come with a later day's file.
        late_days: how many days late they are at most; those of the last days come in files of their own.
        file_format: of the day files, "parquet" or "csv".
        defects: damaged rows in the day files, as a share of the events before `defects_until_day`.
        defects_until_day: first day that is delivered clean; without it, no day is.
        defect_kinds: the kinds of damage, in turn: any of `DEFECTS`, and in CSV files of `MALFORMED`.

    Raises:
        ConfigError: a field is out of its range.
    """

    seed: int = 0
    customers: int = 5_000
    terminals: int | None = None
    days: int = 183
    start: str = "2018-04-01"
    change_day: int | None = None
    change: Change = "none"
    tested_cards: float = 2.0
    price_rise: float = 1.4
    fraud_waves: tuple[Wave, ...] = ()
    spending_drift: float = 0.0
    new_terminals: float = 0.0
    weekend_volume: float = 1.0
    yearly_season: float = 0.0
    unlabelled_days: int = 0
    label_noise: float = 0.0
    late_events: float = 0.0
    late_days: int = 3
    file_format: FileFormat = "parquet"
    defects: float = 0.0
    defects_until_day: int | None = None
    defect_kinds: tuple[str, ...] = DEFECTS

    def __post_init__(self) -> None:
        self._require(self.seed >= 0, "seed", "at least 0")
        self._require(self.customers >= 1, "customers", "at least 1")
        self._require(self.terminals is None or self.terminals >= 1, "terminals", "at least 1")
        self._require(self.days >= 1, "days", "at least 1")
        self._require(self.change in _CHANGES, "change", "one of " + ", ".join(_CHANGES))
        self._require(self.change_day is None or self.change_day >= 0, "change_day", "at least 0")
        self._require(
            self.change == "none" or self.change_day is not None, "change_day", f"given with {self.change!r}"
        )
        self._require(0 <= self.tested_cards <= 1_000, "tested_cards", "between 0 and 1,000 cards per 1,000")
        self._require(0 < self.price_rise < math.inf, "price_rise", "above 0")
        self._require(
            all(w.first_day >= 0 and w.days >= 1 and 1 <= w.factor <= 1_000 for w in self.fraud_waves),
            "fraud_waves",
            "waves with first_day at least 0, days at least 1 and factor between 1 and 1,000",
        )
        self._require(-1 < self.spending_drift <= 100, "spending_drift", "above -1 and at most 100")
        self._require(0 <= self.new_terminals <= 10_000, "new_terminals", "between 0 and 10,000 per 10,000")
        self._require(0 <= self.weekend_volume <= 100, "weekend_volume", "between 0 and 100")
        self._require(0 <= self.yearly_season <= 1, "yearly_season", "a share in [0, 1]")
        self._require(self.unlabelled_days >= 0, "unlabelled_days", "at least 0")
        self._require(0 <= self.label_noise <= 1, "label_noise", "a share in [0, 1]")
        self._require(0 <= self.late_events <= 1, "late_events", "a share in [0, 1]")
        self._require(1 <= self.late_days <= 366, "late_days", "between 1 and 366")
        self._require(self.file_format in _FORMATS, "file_format", "one of " + ", ".join(_FORMATS))
        self._require(0 <= self.defects < 1, "defects", "a share in [0, 1)")
        kinds = DEFECTS if self.file_format == "parquet" else DEFECTS + MALFORMED
        self._require(
            bool(self.defect_kinds) and set(self.defect_kinds) <= set(kinds),
            "defect_kinds",
            f"some of {', '.join(kinds)} in {self.file_format} files",
        )
        try:
            date.fromisoformat(self.start) + timedelta(days=self.file_count)
        except ValueError:
            self._require(False, "start", "an ISO date such as 2018-04-01")
        except OverflowError:
            self._require(False, "start", f"a date with {self.days:,} days before the end of the year 9999")

    def _require(self, holds: bool, field: str, todo: str) -> None:
        if not holds:
            raise ConfigError(
                f"{getattr(self, field)!r} does not make a world", where=field, todo=f"it must be {todo}"
            )

    @property
    def terminal_count(self) -> int:
        """Terminals that are there from the start."""
        return 2 * self.customers if self.terminals is None else self.terminals

    @property
    def side(self) -> float:
        """Side of the square of customers and terminals: the published density is 1 terminal a unit."""
        return 100 * math.sqrt(self.terminal_count / 10_000)

    @property
    def file_count(self) -> int:
        """Days on which events are delivered: late ones after the last day as well."""
        return self.days + (self.late_days if self.late_events > 0 else 0)

    def date_of(self, day: int) -> date:
        return date.fromisoformat(self.start) + timedelta(days=day)

    def changed(self, day: int, change: Change) -> bool:
        """Whether `day` lies in the part of the world that `change` has come over."""
        return self.change == change and self.change_day is not None and day >= self.change_day

    def price_level(self, day: int) -> float:
        rise = self.price_rise if self.changed(day, "new-pattern") else 1.0
        return rise * (1 + self.spending_drift) ** (day / 365)

    def volume(self, day: int) -> float:
        """Factor on the number of payments on `day`."""
        today = self.date_of(day)
        swing = self.yearly_season * math.cos(2 * math.pi * (today - _SHORTEST_DAY).days / 365.25)
        return (1 + swing) * (self.weekend_volume if today.weekday() >= 5 else 1.0)

    def wave_factor(self, day: int) -> float:
        """Of the customers compromised on `day`; waves that meet multiply."""
        return math.prod(w.factor for w in self.fraud_waves if w.first_day <= day < w.first_day + w.days)

    def opening(self, day: int) -> int:
        """Terminals that open on `day`."""
        return self.count(Process.NEW_TERMINALS, self.new_terminals * self.terminal_count / 10_000, day)

    def damaged(self, day: int) -> bool:
        return self.defects > 0 and (self.defects_until_day is None or day < self.defects_until_day)

    def stream(self, process: Process, day: int | None = None) -> np.random.Generator:
        """The random numbers of one process on one day, or, without a day, for the whole world."""
        key = (int(process), 0 if day is None else day + 1)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=key)))

    def count(self, process: Process, rate: float, day: int) -> int:
        """How often something happens on `day` that happens `rate` times a day.

        Systematic sampling: over the days of one rate the sum stays within one of rate times days, and over the
        seeds the mean of each day is its rate.
        """
        phase = self.stream(process).random()
        return math.floor(rate * (day + 1) + phase) - math.floor(rate * day + phase)
