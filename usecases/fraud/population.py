"""Who lives in the simulated world, and where they can pay.

Distances are never held for all pairs: terminals are sorted into a grid, so that 50,000 customers and 100,000
terminals need tens of megabytes.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from usecases.fraud.world import Floats, Ints, Process, World

__all__ = ["REGIONS", "Population", "Reach", "populate"]

REGIONS = ("south-west", "south-east", "north-west", "north-east")

_RADIUS = 5.0


class Reach(msgspec.Struct, frozen=True):
    """Terminals within 5 units of each customer: of customer c, `terminal[first[c] : first[c] + degree[c]]`."""

    first: Ints
    degree: Ints
    terminal: Ints


class Population(msgspec.Struct, frozen=True):
    """Customers' habits, one value a customer, and the terminals that they reach.

    Fields:
        mean: of the amount, in currency.
        rate: payments a day.
        reach: terminals that are there from the start.
        later: terminals that open later, numbered in order of opening from 0.
        opened: how many of those are open, one value a day.
        region: of each terminal, those that open later last: its place in `REGIONS`, the quarters of the map.
    """

    mean: Floats
    rate: Floats
    reach: Reach
    later: Reach
    opened: Ints
    region: Ints


@lru_cache(maxsize=1)  # a process that computes many parts of one world asks once a part
def populate(world: World) -> Population:
    """Draw the population; its arrays are shared between calls, and not to be changed."""
    rng = world.stream(Process.CUSTOMERS)
    homes = rng.uniform(0, world.side, (world.customers, 2))
    mean = rng.uniform(5, 100, world.customers)
    rate = rng.uniform(0, 4, world.customers)
    places = world.stream(Process.TERMINALS).uniform(0, world.side, (world.terminal_count, 2))
    openings = [
        world.stream(Process.NEW_TERMINALS, day).uniform(0, world.side, (world.opening(day), 2))
        for day in range(world.days)
    ]
    later = np.concatenate(openings)
    half = world.side / 2
    east, north = (np.concatenate([places, later]) >= half).T
    return Population(
        mean=mean,
        rate=rate,
        reach=_within_radius(homes, places, world.side),
        later=_within_radius(homes, later, world.side),
        opened=np.cumsum([len(places) for places in openings]),
        region=2 * north.astype(np.int64) + east,
    )


def _within_radius(homes: Floats, places: Floats, side: float) -> Reach:
    """The places within the radius of each home.

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
    degree = np.bincount(owner, minlength=len(homes))
    return Reach(np.cumsum(degree) - degree, degree, place[np.lexsort((place, owner))])
