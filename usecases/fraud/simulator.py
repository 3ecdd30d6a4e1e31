"""Card payments and their frauds, simulated: the reference handbook's processes, and two ways to change them.

Processes and rates: Le Borgne, Siblini, Lebichot, Bontempi, *Reproducible Machine Learning for Credit Card
Fraud Detection: Practical Handbook* (2022), chapter 3, written anew from their description. TX_FRAUD_SCENARIO
is one of these, a later one overwriting an earlier one:

    0  genuine
    1  amount above 220
    2  any payment at a terminal that went bad within the last 28 days
    3  a third of the payments, amount times 5, of a customer compromised within the last 14 days
    4  card testing, after the change "new-pattern"
    5  no signal at all, after the change "unlearnable"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.errors import InputError
from mlops.storage import is_leftover, publish_dir
from usecases.fraud.world import Floats, Ints, Population, Process, World, populate

__all__ = ["DEFECTS", "SCHEMA", "SimulateResult", "World", "simulate", "write_days"]

SCHEMA = pa.schema(
    {
        "TRANSACTION_ID": pa.int64(),
        "TX_DATETIME": pa.timestamp("us"),
        "CUSTOMER_ID": pa.int64(),
        "TERMINAL_ID": pa.int64(),
        "TX_AMOUNT": pa.float64(),
        "TX_TIME_SECONDS": pa.int64(),
        "TX_TIME_DAYS": pa.int64(),
        "TX_FRAUD": pa.int64(),
        "TX_FRAUD_SCENARIO": pa.int64(),
    }
)
DEFECTS = (
    "duplicate",
    "missing_amount",
    "negative_amount",
    "missing_customer",
    "missing_time",
    "time_out_of_range",
)

_DAY_SECONDS = 86_400
_LARGE_AMOUNT = 220.0
_BAD_DAYS, _COMPROMISED_DAYS = 28, 14
_BURST_SIZES, _BURST_SECONDS = (8, 15), 3 * 3_600
_BURST_AMOUNTS = (0.5, 5.0)
_DAMAGED_IDS = 10**12  # far above every good row's number, so that good rows keep theirs whatever is damaged
_DAY_FILE = re.compile(r"\d{4}-\d\d-\d\d\.parquet")


class SimulateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `write_days` wrote.

    `rows`, all that stand in the files, are `events` plus `defects`; frauds and scenarios count events.
    """

    uri: str
    rows: int
    events: int
    frauds: int
    days: int
    rows_by_scenario: dict[int, int]
    defects: dict[str, int]


class _Rows(msgspec.Struct, frozen=True):
    """Events of one day, one array a column; `second` counts from midnight."""

    second: Ints
    customer: Ints
    terminal: Ints
    amount: Floats
    scenario: Ints

    def take(self, index: Ints | NDArray[np.bool_]) -> _Rows:
        return _Rows(*(column[index] for column in msgspec.structs.astuple(self)))

    def __add__(self, other: _Rows) -> _Rows:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return _Rows(*(np.concatenate(pair) for pair in pairs))


def simulate(world: World) -> pa.Table:
    """All events of the world, without defects.

    Returns:
        a table with `SCHEMA`, sorted by (TX_DATETIME, TRANSACTION_ID); ids count from 0 in that order.
    """
    tables, known = [], 0
    for day, rows in _days(world):
        tables.append(_table(world, day, rows, known + np.arange(len(rows.second))))
        known += len(rows.second)
    return pa.concat_tables(tables).combine_chunks()


def write_days(world: World, out: Path) -> SimulateResult:
    """Write the events as a source would deliver them: a folder with one Parquet file a day, defects and all.

    The folder appears when its last day is written, and replaces one that an earlier call wrote. Damaged rows
    are copies of events, added beside them; except for exact duplicates they have ids of their own.

    Raises:
        InputError: `out` is a file, or a folder that holds something other than day files.
        SetupError: the device is full.
    """
    _check_replaceable(out)
    events = damaged = 0
    scenarios: Counter[int] = Counter()
    kinds: Counter[str] = Counter(dict.fromkeys(DEFECTS, 0))
    with publish_dir(out) as folder:
        for day, rows in _days(world):
            size = len(rows.second)
            scenarios.update(dict(enumerate(np.bincount(rows.scenario).tolist())))
            ids, kind = events + np.arange(size), np.full(size, -1)
            if world.damaged(day):
                # From running totals: the share is met over the whole world, however few events a day has.
                extra = int(world.defects * (events + size)) - int(world.defects * events)
                copied = world.stream(Process.DEFECTS, day).choice(size, extra, replace=False)
                number = damaged + np.arange(extra)
                kind_of_copy = number % len(DEFECTS)
                kinds.update(DEFECTS[k] for k in kind_of_copy)
                ids = np.concatenate([ids, np.where(kind_of_copy == 0, ids[copied], _DAMAGED_IDS + number)])
                kind = np.concatenate([kind, kind_of_copy])
                beside = np.argsort(np.concatenate([np.arange(size), copied]), kind="stable")
                rows, ids, kind = (rows + rows.take(copied)).take(beside), ids[beside], kind[beside]
                damaged += extra
            name = f"{date.fromisoformat(world.start) + timedelta(days=day)}.parquet"
            pq.write_table(_table(world, day, rows, ids, kind), folder / name)
            events += size
    return SimulateResult(
        uri=str(out),
        rows=events + damaged,
        events=events,
        frauds=events - scenarios[0],
        days=world.days,
        rows_by_scenario=dict(sorted(scenarios.items())),
        defects=dict(kinds),
    )


def _check_replaceable(out: Path) -> None:
    if out.is_dir():
        foreign = sorted(p.name for p in out.iterdir() if not (_DAY_FILE.fullmatch(p.name) or is_leftover(p)))
        if foreign:
            raise InputError(
                f"would be replaced, but holds {foreign[0]}", where=out, todo="name a new folder"
            )
    elif out.exists():
        raise InputError("is not a folder", where=out, todo="name a new folder")


def _days(world: World) -> Iterator[tuple[int, _Rows]]:
    population = populate(world)
    for day in range(world.days):
        yield day, _day(world, population, day)


def _day(world: World, population: Population, day: int) -> _Rows:
    """The events of one day, in order of time."""
    price = world.price_level(day)
    rows = _spending(world, population, price, day)
    amount, scenario = rows.amount, rows.scenario
    scenario[amount > _LARGE_AMOUNT * price] = 1

    bad_a_day = 2 * world.terminal_count / 10_000
    bad = _struck(world, Process.BAD_TERMINALS, bad_a_day, world.terminal_count, _BAD_DAYS, day)
    scenario[bad[rows.terminal]] = 2

    struck_a_day = 3 * world.customers / 5_000
    compromised = _struck(
        world, Process.COMPROMISED_CUSTOMERS, struck_a_day, world.customers, _COMPROMISED_DAYS, day
    )
    third = world.stream(Process.COMPROMISED_PAYMENTS, day).random(len(amount)) < 1 / 3
    abused = compromised[rows.customer] & third
    amount[abused] = np.round(5 * amount[abused], 2)
    scenario[abused] = 3

    if world.changed(day, "new-pattern"):
        rows += _card_testing(world, day)
    if world.changed(day, "unlearnable"):
        genuine = np.flatnonzero(scenario == 0)
        expected = world.tested_cards * world.customers / 1_000 * sum(_BURST_SIZES) / 2
        number = min(world.count(Process.UNLEARNABLE, expected, day), len(genuine))
        scenario[world.stream(Process.UNLEARNABLE, day).choice(genuine, number, replace=False)] = 5
    return rows.take(np.argsort(rows.second, kind="stable"))


def _spending(world: World, population: Population, price: float, day: int) -> _Rows:
    """What customers buy: Poisson counts around noon, amounts around their means, terminals in reach."""
    rng = world.stream(Process.SPENDING, day)
    customer = np.repeat(np.arange(world.customers), rng.poisson(population.rate))
    second = rng.normal(_DAY_SECONDS / 2, 20_000, len(customer)).astype(np.int64)
    mean = population.mean[customer]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    nth = (rng.random(len(customer)) * population.degree[customer]).astype(np.int64)
    kept = np.flatnonzero((second > 0) & (second < _DAY_SECONDS) & (population.degree[customer] > 0))
    return _Rows(
        second=second[kept],
        customer=customer[kept],
        terminal=population.reach[population.first[customer[kept]] + nth[kept]],
        amount=np.round(price * amount[kept], 2),
        scenario=np.zeros(len(kept), np.int64),
    )


def _struck(
    world: World, process: Process, rate: float, population: int, lasting: int, day: int
) -> NDArray[np.bool_]:
    """Which members of a population were struck within the last `lasting` days, `day` included."""
    struck = np.zeros(population, np.bool_)
    for since in range(max(0, day - lasting + 1), day + 1):
        number = world.count(process, rate, since)
        struck[world.stream(process, since).choice(population, number, replace=False)] = True
    return struck


def _card_testing(world: World, day: int) -> _Rows:
    """Bursts of small payments within three hours, anywhere: thieves trying which stolen cards still work."""
    number = min(
        world.count(Process.CARD_TESTING, world.tested_cards * world.customers / 1_000, day), world.customers
    )
    rng = world.stream(Process.CARD_TESTING, day)
    cards = rng.choice(world.customers, number, replace=False)
    sizes = rng.integers(*_BURST_SIZES, number, endpoint=True)
    begin = np.repeat(rng.integers(1, _DAY_SECONDS - _BURST_SECONDS, number), sizes)
    total = len(begin)
    return _Rows(
        second=begin + rng.integers(0, _BURST_SECONDS, total),
        customer=np.repeat(cards, sizes),
        terminal=rng.integers(0, world.terminal_count, total),
        amount=np.round(rng.uniform(*_BURST_AMOUNTS, total), 2),
        scenario=np.full(total, 4),
    )


def _table(world: World, day: int, rows: _Rows, ids: Ints, kind: Ints | None = None) -> pa.Table:
    """The events as `SCHEMA`, those damaged whose `kind` is the position of one of `DEFECTS`."""
    time = np.datetime64(world.start, "us") + (day * _DAY_SECONDS + rows.second).astype("timedelta64[s]")
    amount = rows.amount
    no_amount = no_customer = no_time = None
    if kind is not None:
        _, no_amount, negative, no_customer, no_time, past = (kind == k for k in range(len(DEFECTS)))
        amount = np.where(negative, -np.maximum(amount, 0.01), amount)
        time = np.where(past, np.datetime64("1900-01-01", "us"), time)
    columns = (
        pa.array(ids),
        pa.array(time, mask=no_time),
        pa.array(rows.customer, mask=no_customer),
        pa.array(rows.terminal),
        pa.array(amount, mask=no_amount),
        pa.array(day * _DAY_SECONDS + rows.second),
        pa.array(np.full(len(ids), day)),
        pa.array((rows.scenario > 0).astype(np.int64)),
        pa.array(rows.scenario),
    )
    return pa.table(columns, schema=SCHEMA)
