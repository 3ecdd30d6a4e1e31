"""Each knob of the simulated world does what it says, and leaves the rest of the world as it was drawn."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from usecases.fraud.simulator import SCHEMA, simulate
from usecases.fraud.world import Wave, World

DAYS = 60
BASE = World(seed=1, customers=1_000, days=DAYS)
ID = "TRANSACTION_ID"


def turned(**knobs: Any) -> pa.Table:
    return simulate(msgspec.structs.replace(BASE, **knobs))


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()


def but(*names: str) -> list[str]:
    return [name for name in SCHEMA.names if name not in names]


def payments(table: pa.Table) -> set[tuple[Any, ...]]:
    """What tells payments apart but their ids, which count over all."""
    return set(zip(*(table[name].to_pylist() for name in but(ID)), strict=True))


def weekend(table: pa.Table) -> np.ndarray:
    return (column(table, "TX_TIME_DAYS") + 6) % 7 >= 5  # 1 April 2018 was a Sunday


@pytest.fixture(scope="module")
def base() -> pa.Table:
    return simulate(BASE)


def test_a_fraud_wave_compromises_more_customers_on_its_days(base: pa.Table) -> None:
    wave = turned(fraud_waves=(Wave(first_day=20, days=7, factor=20),))
    frauds = ("TX_AMOUNT", "TX_FRAUD", "TX_FRAUD_SCENARIO")
    assert wave.select(but(*frauds)).equals(base.select(but(*frauds)))
    day, scenario = column(wave, "TX_TIME_DAYS"), column(wave, "TX_FRAUD_SCENARIO")
    more = scenario != column(base, "TX_FRAUD_SCENARIO")
    assert (scenario[more] == 3).all()
    assert set(day[more]) == set(range(20, 20 + 7 + 13))  # each lasts 14 days
    assert (column(wave, "TX_AMOUNT")[~more] == column(base, "TX_AMOUNT")[~more]).all()
    customers = column(wave, "CUSTOMER_ID")[more]
    # 0.6 a day are compromised anyway, 19 times as many more on 7 days; of some no payment is abused, or was already.
    assert 60 <= len(set(customers)) <= 19 * 0.6 * 7


def test_waves_that_meet_multiply() -> None:
    waves = (Wave(first_day=0, days=10, factor=2), Wave(first_day=5, days=10, factor=3))
    world = msgspec.structs.replace(BASE, fraud_waves=waves)
    assert [world.wave_factor(day) for day in (0, 4, 5, 9, 10, 14, 15)] == [2, 2, 6, 6, 3, 3, 1]


def test_without_tested_cards_the_new_pattern_is_a_change_of_prices(base: pa.Table) -> None:
    dear = turned(change="new-pattern", change_day=30, tested_cards=0, price_rise=1.2)
    assert dear.select(but("TX_AMOUNT")).equals(base.select(but("TX_AMOUNT")))
    factor = np.where(column(base, "TX_TIME_DAYS") < 30, 1, 1.2)
    assert column(dear, "TX_AMOUNT") == pytest.approx(factor * column(base, "TX_AMOUNT"), abs=0.06)


def test_spending_drifts_a_little_every_day_and_the_threshold_with_it(base: pa.Table) -> None:
    drift = turned(spending_drift=0.5)
    assert drift.select(but("TX_AMOUNT")).equals(base.select(but("TX_AMOUNT")))
    growth = 1.5 ** (column(base, "TX_TIME_DAYS") / 365)
    assert growth.max() == pytest.approx(1.068, abs=0.001)
    assert column(drift, "TX_AMOUNT") == pytest.approx(growth * column(base, "TX_AMOUNT"), abs=0.06)


def test_new_terminals_are_used_from_the_day_they_open_and_turn_bad_as_others_do(base: pa.Table) -> None:
    new = turned(new_terminals=200)  # 40 a day, 2,400 in all, beside 2,000
    moved = (
        "TERMINAL_ID",
        "TERMINAL_REGION",
        "TX_AMOUNT",
        "TX_FRAUD",
        "TX_FRAUD_SCENARIO",
    )  # bad ones make other frauds
    assert new.select(but(*moved)).equals(base.select(but(*moved)))
    terminal, day = column(new, "TERMINAL_ID"), column(new, "TX_TIME_DAYS")
    opened = terminal >= 2_000
    assert (terminal[~opened] == column(base, "TERMINAL_ID")[~opened]).all()
    assert (terminal < 2_000 + 40 * (day + 1) + 1).all()
    share = opened[day == DAYS - 1].mean()
    assert share == pytest.approx(2_400 / 4_400, abs=0.05)  # 1,900 payments: 4 standard errors
    rates = [(column(new, "TX_FRAUD_SCENARIO")[rows] == 2).mean() for rows in (opened, ~opened)]
    assert min(rates) > 0.001
    assert rates[0] == pytest.approx(rates[1], rel=0.6)


def test_weekends_are_quieter_or_busier_and_weekdays_as_they_were(base: pa.Table) -> None:
    quiet, busy = turned(weekend_volume=0.5), turned(weekend_volume=1.5)
    expected = int(weekend(base).sum())
    for table, volume in ((quiet, 0.5), (busy, 1.5)):
        found = int(weekend(table).sum())
        assert found == pytest.approx(volume * expected, abs=4 * (expected / 2) ** 0.5)
        weekdays = table.filter(pa.array(~weekend(table))), base.filter(pa.array(~weekend(base)))
        assert weekdays[0].select(but(ID)).equals(weekdays[1].select(but(ID)))
    assert payments(quiet) < payments(base) < payments(busy)
    assert turned(weekend_volume=0).num_rows == base.num_rows - expected


def test_the_year_has_a_season_with_its_height_on_21_december() -> None:
    year = World(customers=200, days=365, start="2018-01-01", yearly_season=0.5)
    counts = np.bincount(column(simulate(year), "TX_TIME_DAYS"), minlength=365)
    flat = np.bincount(column(simulate(World(customers=200, days=365)), "TX_TIME_DAYS"), minlength=365).mean()
    days = np.arange(365)
    implied = flat * (1 + 0.5 * np.cos(2 * np.pi * (days - 354) / 365.25))
    months = np.arange(0, 365, 30)
    found, expected = np.add.reduceat(counts, months), np.add.reduceat(implied, months)
    assert (np.abs(found - expected) < 4 * np.sqrt(expected)).all()
    assert found[:12].argmax() in (11, 0) and found[:12].argmin() in (5, 6)


def test_labels_of_the_last_days_are_not_known_yet(base: pa.Table) -> None:
    recent = turned(unlabelled_days=7)
    assert recent.select(but("TX_FRAUD")).equals(base.select(but("TX_FRAUD")))
    known = pc.less(base["TX_TIME_DAYS"], DAYS - 7)
    assert recent["TX_FRAUD"].is_valid().equals(known)
    assert recent.filter(known).equals(base.filter(known))
    assert turned(unlabelled_days=1_000)["TX_FRAUD"].null_count == base.num_rows


def test_wrong_labels_are_a_share_of_all_and_the_scenario_keeps_the_truth(base: pa.Table) -> None:
    noisy = turned(label_noise=0.02)
    assert noisy.select(but("TX_FRAUD")).equals(base.select(but("TX_FRAUD")))
    wrong = column(noisy, "TX_FRAUD") != column(base, "TX_FRAUD")
    assert wrong.mean() == pytest.approx(0.02, abs=4 * (0.02 / base.num_rows) ** 0.5)
    assert wrong[column(base, "TX_FRAUD") == 1].any() and wrong[column(base, "TX_FRAUD") == 0].any()


@pytest.mark.parametrize(
    "knobs",
    [
        {"fraud_waves": (Wave(first_day=5, days=9, factor=5),)},
        {"spending_drift": 1.0, "new_terminals": 300.0, "label_noise": 0.1},
        {"weekend_volume": 2.0, "yearly_season": 0.4},
    ],
)
def test_a_longer_turned_world_begins_with_the_shorter_one(knobs: dict[str, Any]) -> None:
    longer, shorter = turned(**knobs), turned(**knobs, days=40)
    assert longer.slice(0, shorter.num_rows).equals(shorter)
