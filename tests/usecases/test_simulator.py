"""The simulated world is the published one, the same for a seed, and changes only as it is told to."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import ks_2samp

from mlops.errors import ConfigError
from usecases.fraud.population import REGIONS, populate
from usecases.fraud.simulator import SCHEMA, simulate
from usecases.fraud.world import Process, Wave, World

SMALL = World(seed=3, customers=300, days=30)
CHANGED = World(customers=1_000, days=90, change_day=60)


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()


def days(table: pa.Table, first: int, until: int) -> pa.Table:
    day = table["TX_TIME_DAYS"]
    return table.filter(pc.and_(pc.greater_equal(day, first), pc.less(day, until)))


def of_scenario(table: pa.Table, scenario: int) -> pa.Table:
    return table.filter(pc.equal(table["TX_FRAUD_SCENARIO"], scenario))


@pytest.fixture(scope="module")
def published() -> pa.Table:
    return simulate(World())


@pytest.fixture(scope="module")
def steady() -> pa.Table:
    return simulate(CHANGED)


@pytest.fixture(scope="module")
def new_pattern() -> pa.Table:
    return simulate(msgspec.structs.replace(CHANGED, change="new-pattern"))


@pytest.fixture(scope="module")
def unlearnable() -> pa.Table:
    return simulate(msgspec.structs.replace(CHANGED, change="unlearnable"))


def test_the_default_world_has_three_scenarios_and_nearly_all_of_its_customers(published: pa.Table) -> None:
    assert set(column(published, "TX_FRAUD_SCENARIO")) == {0, 1, 2, 3}
    assert 4_980 <= len(pc.unique(published["CUSTOMER_ID"])) < 5_000  # published: 4,990


def test_events_have_the_published_layout_in_order_of_time(published: pa.Table) -> None:
    seconds, amounts = column(published, "TX_TIME_SECONDS"), column(published, "TX_AMOUNT")
    assert published.schema == SCHEMA
    assert all(published[name].null_count == 0 for name in published.column_names)
    assert (column(published, "TRANSACTION_ID") == np.arange(published.num_rows)).all()
    assert (np.diff(seconds) >= 0).all()
    elapsed = column(published, "TX_DATETIME") - np.datetime64("2018-04-01")
    assert (elapsed == seconds.astype("timedelta64[s]")).all()
    assert (column(published, "TX_TIME_DAYS") == seconds // 86_400).all()
    assert (amounts >= 0).all()
    assert (amounts == np.round(amounts, 2)).all()
    assert (column(published, "TX_FRAUD") == (column(published, "TX_FRAUD_SCENARIO") > 0)).all()


def test_payments_follow_the_published_habits(published: pa.Table) -> None:
    genuine = of_scenario(published, 0)
    customers = genuine.group_by("CUSTOMER_ID").aggregate(
        [("TX_AMOUNT", "mean"), ("TX_AMOUNT", "stddev"), ("TX_AMOUNT", "count")]
    )
    steady = customers.filter(pc.greater(customers["TX_AMOUNT_count"], 300))
    population = populate(World())
    mean = population.mean[column(steady, "CUSTOMER_ID")]
    # Redrawing negative amounts lifts the mean of N(m, m / 2) to 1.027 m and narrows its deviation to .47 m.
    assert column(steady, "TX_AMOUNT_mean") / mean == pytest.approx(1.03, abs=0.15)
    assert np.median(column(steady, "TX_AMOUNT_stddev") / mean) == pytest.approx(0.47, abs=0.02)
    second = column(genuine, "TX_TIME_SECONDS") % 86_400
    assert second.mean() == pytest.approx(43_200, abs=100)
    assert second.std() == pytest.approx(18_300, rel=0.02)  # N(43,200, 20,000) cut to the day


def test_customers_pay_only_at_terminals_within_five_units() -> None:
    world = World(customers=80, days=10)
    population = populate(world)
    homes = world.stream(Process.CUSTOMERS).uniform(0, world.side, (80, 2))
    places = world.stream(Process.TERMINALS).uniform(0, world.side, (160, 2))
    near = np.hypot(*(homes[:, None] - places[None]).transpose(2, 0, 1)) < 5
    reach = population.reach
    for customer, first in enumerate(reach.first):
        terminals = reach.terminal[first : first + reach.degree[customer]]
        assert terminals.tolist() == np.flatnonzero(near[customer]).tolist()
    events = simulate(world)
    assert near[column(events, "CUSTOMER_ID"), column(events, "TERMINAL_ID")].all()


def test_a_terminal_is_in_the_region_of_its_quarter_of_the_map() -> None:
    world = World(customers=80, days=10, new_terminals=1_000)
    places = world.stream(Process.TERMINALS).uniform(0, world.side, (160, 2))
    opened = [
        world.stream(Process.NEW_TERMINALS, day).uniform(0, world.side, (world.opening(day), 2))
        for day in range(10)
    ]
    events = simulate(world)
    east, north = (np.concatenate([places, *opened])[column(events, "TERMINAL_ID")] > world.side / 2).T
    names = [
        f"{'north' if up else 'south'}-{'east' if right else 'west'}"
        for right, up in zip(east, north, strict=True)
    ]
    assert events["TERMINAL_REGION"].to_pylist() == names
    assert set(names) == set(REGIONS)
    assert max(column(events, "TERMINAL_ID")) >= 160


def test_a_small_world_keeps_the_density_of_the_large_one() -> None:
    degrees = [populate(World(customers=n)).reach.degree.mean() for n in (500, 5_000)]
    assert degrees == pytest.approx([math.pi * 25] * 2, rel=0.2)


def test_every_payment_at_a_bad_terminal_is_a_fraud_for_28_days(published: pa.Table) -> None:
    frauds = of_scenario(published, 2)
    spans = frauds.group_by("TERMINAL_ID").aggregate([("TX_TIME_DAYS", "min"), ("TX_TIME_DAYS", "max")])
    length = column(spans, "TX_TIME_DAYS_max") - column(spans, "TX_TIME_DAYS_min") + 1
    once = length <= 28  # a few terminals turn bad twice
    assert once.mean() > 0.9
    assert length[once].max() == 28
    there = published.join(spans.filter(pa.array(once)), "TERMINAL_ID", join_type="inner")
    day = there["TX_TIME_DAYS"]
    within = pc.and_(
        pc.greater_equal(day, there["TX_TIME_DAYS_min"]), pc.less_equal(day, there["TX_TIME_DAYS_max"])
    )
    assert set(column(there.filter(within), "TX_FRAUD_SCENARIO")) == {2, 3}


def test_a_third_of_a_compromised_customers_payments_are_five_times_too_large(published: pa.Table) -> None:
    frauds = of_scenario(published, 3)
    spans = frauds.group_by("CUSTOMER_ID").aggregate([("TX_TIME_DAYS", "min"), ("TX_TIME_DAYS", "max")])
    spans = spans.append_column("span", pc.subtract(spans["TX_TIME_DAYS_max"], spans["TX_TIME_DAYS_min"]))
    whole = spans.filter(pc.equal(spans["span"], 13))
    own = published.join(whole, "CUSTOMER_ID", join_type="inner")
    day = own["TX_TIME_DAYS"]
    inner = own.filter(
        pc.and_(pc.greater(day, own["TX_TIME_DAYS_min"]), pc.less(day, own["TX_TIME_DAYS_max"]))
    )
    assert (column(inner, "TX_FRAUD_SCENARIO") == 3).mean() == pytest.approx(1 / 3, abs=0.05)
    mean = populate(World()).mean[column(frauds, "CUSTOMER_ID")]
    assert (column(frauds, "TX_AMOUNT") / mean).mean() == pytest.approx(5 * 1.03, rel=0.03)


def test_amounts_above_220_are_frauds(published: pa.Table) -> None:
    assert column(of_scenario(published, 0), "TX_AMOUNT").max() <= 220
    assert column(of_scenario(published, 1), "TX_AMOUNT").min() > 220


def test_frauds_are_as_frequent_in_a_small_world() -> None:
    frauds = [column(simulate(World(seed=seed, customers=500)), "TX_FRAUD").mean() for seed in range(4)]
    assert 100 * np.mean(frauds) == pytest.approx(0.84, abs=0.1)


def test_fractional_rates_are_met_over_days_and_over_seeds() -> None:
    counts = np.array(
        [[World(seed=s).count(Process.BAD_TERMINALS, 0.4, day) for day in range(50)] for s in range(200)]
    )
    assert (np.abs(counts.sum(axis=1) - 20) <= 1).all()
    assert counts.mean(axis=0) == pytest.approx(0.4, abs=0.15)  # four deviations
    assert counts.mean() == pytest.approx(0.4, abs=0.01)


def test_same_seed_same_world_other_seed_another() -> None:
    assert simulate(SMALL).equals(simulate(SMALL))
    assert not simulate(SMALL).equals(simulate(msgspec.structs.replace(SMALL, seed=4)))


@pytest.mark.parametrize("change", ["none", "new-pattern", "unlearnable"])
def test_a_longer_world_begins_with_the_shorter_one(change: str) -> None:
    world = World(customers=300, days=107, change_day=40, change=change)
    shorter = simulate(msgspec.structs.replace(world, days=60))
    assert days(simulate(world), 0, 60).equals(shorter)


def test_a_change_leaves_earlier_days_alone(
    steady: pa.Table, new_pattern: pa.Table, unlearnable: pa.Table
) -> None:
    for changed in (new_pattern, unlearnable):
        assert days(changed, 0, 60).equals(days(steady, 0, 60))
        assert not days(changed, 60, 61).equals(days(steady, 60, 61))


def test_card_testing_is_bursts_of_small_payments_that_are_all_frauds(new_pattern: pa.Table) -> None:
    frauds = of_scenario(new_pattern, 4)
    assert column(frauds, "TX_FRAUD").all()
    amounts = column(frauds, "TX_AMOUNT")
    assert 0.5 <= amounts.min() <= amounts.max() <= 5
    bursts = frauds.group_by(["CUSTOMER_ID", "TX_TIME_DAYS"]).aggregate(
        [("TX_TIME_SECONDS", "min"), ("TX_TIME_SECONDS", "max"), ("TX_TIME_SECONDS", "count")]
    )
    assert bursts.num_rows == 60  # two a day and 1,000 customers, 30 days
    sizes = column(bursts, "TX_TIME_SECONDS_count")
    assert 8 <= sizes.min() <= sizes.max() <= 15
    lengths = column(bursts, "TX_TIME_SECONDS_max") - column(bursts, "TX_TIME_SECONDS_min")
    assert lengths.max() < 3 * 3_600


def test_prices_rise_with_the_new_pattern_and_the_threshold_with_them(
    steady: pa.Table, new_pattern: pa.Table
) -> None:
    old, new = days(steady, 60, 90), days(new_pattern, 60, 90)
    others = new.filter(pc.not_equal(new["TX_FRAUD_SCENARIO"], 4))
    assert others.num_rows == old.num_rows
    # In each second the order is that of the draws, so the two worlds pair row by row.
    genuine = column(old, "TX_FRAUD_SCENARIO") == 0
    assert column(others, "TX_AMOUNT")[genuine] == pytest.approx(
        1.4 * column(old, "TX_AMOUNT")[genuine], abs=0.02
    )
    assert 220 < column(of_scenario(others, 0), "TX_AMOUNT").max() <= 1.4 * 220
    assert column(of_scenario(others, 1), "TX_AMOUNT").min() > 1.4 * 220


def test_unlearnable_frauds_are_as_many_and_carry_no_signal(
    steady: pa.Table, new_pattern: pa.Table, unlearnable: pa.Table
) -> None:
    frauds = of_scenario(unlearnable, 5)
    assert frauds.num_rows == pytest.approx(of_scenario(new_pattern, 4).num_rows, rel=0.15)
    genuine = days(of_scenario(steady, 0), 60, 90)
    for name in ("TX_AMOUNT", "CUSTOMER_ID", "TERMINAL_ID", "TX_TIME_SECONDS"):
        assert ks_2samp(column(frauds, name), column(genuine, name)).pvalue > 0.01, name
    features = [name for name in SCHEMA.names if not name.startswith("TX_FRAUD")]
    assert unlearnable.select(features).equals(steady.select(features))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("customers", 0),
        ("terminals", 0),
        ("days", 0),
        ("start", "1 April"),
        ("change", "sudden"),
        ("change_day", -1),
        ("defects", 1.0),
        ("price_rise", 0.0),
        ("tested_cards", -1.0),
        ("fraud_waves", (Wave(first_day=0, days=0, factor=2),)),
        ("fraud_waves", (Wave(first_day=0, days=1, factor=0.5),)),
        ("spending_drift", -1.0),
        ("new_terminals", -1.0),
        ("weekend_volume", -0.1),
        ("yearly_season", 1.1),
        ("unlabelled_days", -1),
        ("label_noise", 1.1),
        ("late_events", -0.1),
        ("late_days", 0),
        ("file_format", "pickle"),
        ("defect_kinds", ()),
        ("defect_kinds", ("malformed_amount",)),  # only text has room for it
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}: "):
        World(**{field: value})


@pytest.mark.parametrize("days", [5, 10**12])
def test_a_world_ends_before_the_calendar_does(days: int) -> None:
    with pytest.raises(ConfigError, match=r"^start: .* days before the end of the year 9999"):
        World(start="9999-12-30", days=days)


def test_a_change_needs_its_day() -> None:
    with pytest.raises(ConfigError, match=r"^change_day: "):
        World(change="new-pattern")
