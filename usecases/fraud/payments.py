"""What happens in the simulated world on one day: payments, and the frauds among them.

Processes and rates: Le Borgne, Siblini, Lebichot, Bontempi, *Reproducible Machine Learning for Credit Card
Fraud Detection: Practical Handbook* (2022), chapter 3, written anew from their description. The scenario of a
payment is one of these, a later one overwriting an earlier one:

    0  genuine
    1  amount above 220
    2  any payment at a terminal that went bad within the last 28 days
    3  a third of the payments, amount times 5, of a customer compromised within the last 14 days
    4  card testing, after the change "new-pattern"
    5  no signal at all, after the change "unlearnable"
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from usecases.fraud.population import Population
from usecases.fraud.world import Floats, Ints, Process, World

__all__ = ["DAY_SECONDS", "Payments", "count_payments", "payments"]

DAY_SECONDS = 86_400

_LARGE_AMOUNT = 220.0
_BAD_DAYS, _COMPROMISED_DAYS = 28, 14
_BURST_SIZES, _BURST_SECONDS = (8, 15), 3 * 3_600
_BURST_AMOUNTS = (0.5, 5.0)

Mask = NDArray[np.bool_]


class Payments(msgspec.Struct, frozen=True):
    """Payments of one day, one array a column; `second` counts from midnight."""

    second: Ints
    customer: Ints
    terminal: Ints
    amount: Floats
    scenario: Ints

    def __len__(self) -> int:
        return len(self.second)

    def take(self, index: Ints | Mask) -> Payments:
        return Payments(*(column[index] for column in msgspec.structs.astuple(self)))

    def __add__(self, other: Payments) -> Payments:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Payments(*(np.concatenate(pair) for pair in pairs))


def payments(world: World, population: Population, day: int) -> Payments:
    """The payments of one day, in order of time."""
    price, volume = world.price_level(day), world.volume(day)
    rows = _spending(world, population, Process.SPENDING, 1.0, day)
    if volume > 1:
        rows += _spending(world, population, Process.BUSY_SEASON, volume - 1, day)
    if population.opened[day]:
        rows = _at_new_terminals(world, population, rows, day)
    amount, scenario = rows.amount, rows.scenario
    scenario[amount > _LARGE_AMOUNT * price] = 1
    scenario[_bad_terminals(world, population, day)[rows.terminal]] = 2
    third = world.stream(Process.COMPROMISED_PAYMENTS, day).random(len(rows)) < 1 / 3
    abused = _compromised_customers(world, day)[rows.customer] & third
    amount[abused] = np.round(5 * amount[abused], 2)
    scenario[abused] = 3
    if volume < 1:
        rows = rows.take(_in_quiet_season(world, day, len(rows), volume))
    if world.changed(day, "new-pattern"):
        rows += _card_testing(world, day)
    if world.changed(day, "unlearnable"):
        genuine = np.flatnonzero(rows.scenario == 0)
        expected = world.tested_cards * world.customers / 1_000 * sum(_BURST_SIZES) / 2
        number = min(world.count(Process.UNLEARNABLE, expected, day), len(genuine))
        rows.scenario[world.stream(Process.UNLEARNABLE, day).choice(genuine, number, replace=False)] = 5
    return rows.take(np.argsort(rows.second, kind="stable"))


def count_payments(world: World, population: Population, day: int) -> int:
    """How many payments there are on one day, at a third of what it takes to draw them whole."""
    volume = world.volume(day)
    number = len(_visits(world, population, Process.SPENDING, 1.0, day)[3])
    if volume > 1:
        number += len(_visits(world, population, Process.BUSY_SEASON, volume - 1, day)[3])
    if volume < 1:
        number = int(_in_quiet_season(world, day, number, volume).sum())
    if world.changed(day, "new-pattern"):
        number += int(_bursts(world, day)[2].sum())
    return number


def _visits(
    world: World, population: Population, process: Process, share: float, day: int
) -> tuple[np.random.Generator, Ints, Ints, Ints]:
    """Who pays in which second: Poisson counts around noon; and which of them do so within the day, and can.

    `share` is that of the customers' rates; what else is drawn of these payments comes from the same stream.
    """
    rng = world.stream(process, day)
    customer = np.repeat(np.arange(world.customers), rng.poisson(share * population.rate))
    second = rng.normal(DAY_SECONDS / 2, 20_000, len(customer)).astype(np.int64)
    within = (second > 0) & (second < DAY_SECONDS) & (population.reach.degree[customer] > 0)
    return rng, customer, second, np.flatnonzero(within)


def _spending(world: World, population: Population, process: Process, share: float, day: int) -> Payments:
    """What customers buy: amounts around their means, at terminals in reach."""
    rng, customer, second, kept = _visits(world, population, process, share, day)
    mean = population.mean[customer]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    reach = population.reach
    nth = (rng.random(len(customer)) * reach.degree[customer]).astype(np.int64)
    return Payments(
        second=second[kept],
        customer=customer[kept],
        terminal=reach.terminal[reach.first[customer[kept]] + nth[kept]],
        amount=np.round(world.price_level(day) * amount[kept], 2),
        scenario=np.zeros(len(kept), np.int64),
    )


def _at_new_terminals(world: World, population: Population, rows: Payments, day: int) -> Payments:
    """Move payments, so that customers use all terminals in reach that are open alike."""
    later = population.later
    owner = np.repeat(np.arange(world.customers), later.degree)
    is_open = later.terminal < population.opened[day]  # the first ones of each customer's
    new = np.bincount(owner[is_open], minlength=world.customers)[rows.customer]
    chance = world.stream(Process.NEW_TERMINAL_PAYMENTS, day).random(len(rows))
    nth = (chance * (population.reach.degree[rows.customer] + new)).astype(np.int64)
    moved = nth < new
    terminal = rows.terminal.copy()
    terminal[moved] = world.terminal_count + later.terminal[later.first[rows.customer[moved]] + nth[moved]]
    return msgspec.structs.replace(rows, terminal=terminal)


def _in_quiet_season(world: World, day: int, number: int, volume: float) -> Mask:
    """Which of so many payments are made although the season is quiet."""
    return world.stream(Process.QUIET_SEASON, day).random(number) < volume


def _bad_terminals(world: World, population: Population, day: int) -> Mask:
    first = world.terminal_count
    rate = 2 * first / 10_000
    bad = _struck(world, Process.BAD_TERMINALS, lambda _: rate, lambda _: first, _BAD_DAYS, day)
    opened = population.opened
    if opened[day]:
        new = _struck(
            world,
            Process.BAD_NEW_TERMINALS,
            lambda since: 2 * opened[since] / 10_000,
            lambda since: int(opened[since]),
            _BAD_DAYS,
            day,
        )
        bad = np.concatenate([bad, new])
    return bad


def _compromised_customers(world: World, day: int) -> Mask:
    number, rate = world.customers, 3 * world.customers / 5_000
    struck = _struck(
        world, Process.COMPROMISED_CUSTOMERS, lambda _: rate, lambda _: number, _COMPROMISED_DAYS, day
    )
    if world.fraud_waves:
        more = _struck(
            world,
            Process.FRAUD_WAVES,
            lambda since: rate * (world.wave_factor(since) - 1),
            lambda _: number,
            _COMPROMISED_DAYS,
            day,
        )
        struck |= more
    return struck


def _struck(
    world: World,
    process: Process,
    rate: Callable[[int], float],
    number: Callable[[int], int],
    lasting: int,
    day: int,
) -> Mask:
    """Which of the `number(day)` members of a population were struck within the last `lasting` days, `day` included."""
    struck = np.zeros(number(day), np.bool_)
    for since in range(max(0, day - lasting + 1), day + 1):
        hit = min(world.count(process, rate(since), since), number(since))
        struck[world.stream(process, since).choice(number(since), hit, replace=False)] = True
    return struck


def _bursts(world: World, day: int) -> tuple[np.random.Generator, Ints, Ints]:
    """The cards under card testing, and how many payments are tried on each."""
    expected = world.tested_cards * world.customers / 1_000
    number = min(world.count(Process.CARD_TESTING, expected, day), world.customers)
    rng = world.stream(Process.CARD_TESTING, day)
    cards = rng.choice(world.customers, number, replace=False)
    return rng, cards, rng.integers(*_BURST_SIZES, number, endpoint=True)


def _card_testing(world: World, day: int) -> Payments:
    """Bursts of small payments within three hours, anywhere: thieves trying which stolen cards still work."""
    rng, cards, sizes = _bursts(world, day)
    begin = np.repeat(rng.integers(1, DAY_SECONDS - _BURST_SECONDS, len(cards)), sizes)
    total = len(begin)
    return Payments(
        second=begin + rng.integers(0, _BURST_SECONDS, total),
        customer=np.repeat(cards, sizes),
        terminal=rng.integers(0, world.terminal_count, total),
        amount=np.round(rng.uniform(*_BURST_AMOUNTS, total), 2),
        scenario=np.full(total, 4),
    )
