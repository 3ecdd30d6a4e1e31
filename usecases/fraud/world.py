"""The simulated world: its size, the change that comes over it, and where its randomness comes from.

Every number is drawn from a counter-based stream of its own per (seed, process, day). So a day does not
depend on how many days follow, on who simulates it, or on what changes later: a longer world begins with the
shorter one.

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

__all__ = ["Change", "Floats", "Ints", "Population", "Process", "World", "populate"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Change = Literal["none", "new-pattern", "unlearnable"]
_CHANGES = ("none", "new-pattern", "unlearnable")
_RADIUS = 5.0


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
        tested_cards: cards under card testing per day and 1,000 customers.
        price_rise: factor on amounts after the change "new-pattern".
        defects: damaged rows in the day files, as a share of the events before `defects_until_day`.
        defects_until_day: first day that is delivered clean; without it, no day is.

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
    defects: float = 0.0
    defects_until_day: int | None = None

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
        self._require(0 <= self.defects < 1, "defects", "a share in [0, 1)")
        try:
            date.fromisoformat(self.start) + timedelta(days=self.days)
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
        return 2 * self.customers if self.terminals is None else self.terminals

    @property
    def side(self) -> float:
        """Side of the square of customers and terminals: the published density is 1 terminal a unit."""
        return 100 * math.sqrt(self.terminal_count / 10_000)

    def changed(self, day: int, change: Change) -> bool:
        """Whether `day` lies in the part of the world that `change` has come over."""
        return self.change == change and self.change_day is not None and day >= self.change_day

    def price_level(self, day: int) -> float:
        return self.price_rise if self.changed(day, "new-pattern") else 1.0

    def damaged(self, day: int) -> bool:
        return self.defects > 0 and (self.defects_until_day is None or day < self.defects_until_day)

    def stream(self, process: Process, day: int | None = None) -> np.random.Generator:
        """The random numbers of one process on one day, or, without a day, for the whole world."""
        key = (int(process), 0 if day is None else day + 1)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=key)))

    def count(self, process: Process, rate: float, day: int) -> int:
        """How often something happens on `day` that happens `rate` times a day.

        Systematic sampling: over the days the sum stays within one of rate times days, and over the seeds the
        mean of each day is `rate`.
        """
        phase = self.stream(process).random()
        return math.floor(rate * (day + 1) + phase) - math.floor(rate * day + phase)


class Population(msgspec.Struct, frozen=True):
    """Customers' habits, one value a customer, and the terminals within 5 units of each.

    Fields:
        mean: of the amount, in currency.
        rate: payments a day.
        first, degree: customer c reaches the terminals `reach[first[c] : first[c] + degree[c]]`.
        reach: terminals, customer by customer.
    """

    mean: Floats
    rate: Floats
    first: Ints
    degree: Ints
    reach: Ints


def populate(world: World) -> Population:
    """Who lives in the world, and where they pay."""
    rng = world.stream(Process.CUSTOMERS)
    homes = rng.uniform(0, world.side, (world.customers, 2))
    mean = rng.uniform(5, 100, world.customers)
    rate = rng.uniform(0, 4, world.customers)
    places = world.stream(Process.TERMINALS).uniform(0, world.side, (world.terminal_count, 2))
    degree, reach = _within_radius(homes, places, world.side)
    return Population(mean, rate, np.cumsum(degree) - degree, degree, reach)


def _within_radius(homes: Floats, places: Floats, side: float) -> tuple[Ints, Ints]:
    """How many places lie within the radius of each home, and which, home by home.

    Places are sorted into square cells no narrower than the radius: three strips of three cells hold all.
    """
    cells = max(1, int(side // _RADIUS))
    home_x, home_y = np.minimum(homes * cells // side, cells - 1).astype(np.int64).T
    place_x, place_y = np.minimum(places * cells // side, cells - 1).astype(np.int64).T
    cell = place_y * cells + place_x
    by_cell = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[by_cell], np.arange(cells * cells + 1))
    left, right = np.maximum(home_x - 1, 0), np.minimum(home_x + 1, cells - 1)
    owners, found = [], []
    for row in (home_y - 1, home_y, home_y + 1):
        inside = (row >= 0) & (row < cells)
        strip = np.where(inside, row, 0) * cells
        low = starts[strip + left]
        counts = np.where(inside, starts[strip + right + 1] - low, 0)
        owner = np.repeat(np.arange(len(homes)), counts)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        place = by_cell[np.repeat(low, counts) + nth]
        near = ((homes[owner] - places[place]) ** 2).sum(axis=1) < _RADIUS**2
        owners.append(owner[near])
        found.append(place[near])
    owner, place = np.concatenate(owners), np.concatenate(found)
    return np.bincount(owner, minlength=len(homes)), place[np.lexsort((place, owner))]
