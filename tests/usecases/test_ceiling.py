"""The ceiling scorer gives the probabilities that follow from the processes, by brute force on small histories."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from mlops.metrics import average_precision
from usecases.fraud.ceiling import ceiling
from usecases.fraud.simulator import simulate
from usecases.fraud.world import World

DAY_US = 86_400_000_000
NOON_US = DAY_US // 2
START_US = 17_622 * DAY_US  # 2018-04-01

Event = tuple[float, int, int, float, int]  # time in days, card, terminal, amount, scenario


def columns(events: list[Event]) -> dict[str, NDArray[Any]]:
    time, card, terminal, amount, scenario = (np.array(column) for column in zip(*events, strict=True))
    return {
        "event_time": START_US + (time * DAY_US).astype(np.int64),
        "customer_id": card,
        "terminal_id": terminal,
        "amount": amount,
        "scenario": scenario,
    }


def last_score(events: list[Event]) -> float:
    wanted = np.arange(len(events)) == len(events) - 1
    return float(ceiling(columns(events), wanted)[0])


def density(amount: float, mean: float) -> float:
    """Of N(m, m / 2), drawn again from U(0, 2 m) if negative."""
    redrawn = norm.cdf(-2) / (2 * mean) if amount < 2 * mean else 0.0
    return float(norm.pdf(amount, mean, mean / 2) + redrawn)


def struck(pattern: tuple[int, ...], lasting: int, day: int) -> bool:
    return any(pattern[max(0, day - lasting + 1) : day + 1])


def prior(pattern: tuple[int, ...], hazard: float) -> float:
    strikes = sum(pattern)
    return hazard**strikes * (1 - hazard) ** (len(pattern) - strikes)


def patterns(days: int) -> list[tuple[int, ...]]:
    """Days on which a strike fell, up to three of them: more are a billion times rarer than none."""
    all_ = itertools.product((0, 1), repeat=days)
    return [pattern for pattern in all_ if sum(pattern) <= 3]


def test_a_terminal_is_bad_as_likely_as_all_ways_it_could_have_been_struck_say() -> None:
    # Genuine on day 2, fraud on day 4 (both known on day 15), a fraud on day 9 of which nothing is known yet.
    seen = [(2.5, 2, 1, 50.0, 0), (4.5, 3, 1, 50.0, 2), (9.5, 4, 1, 50.0, 2)]
    now = (15.4, 9, 1, 50.0, 0)
    likely = {False: 0.0, True: 0.0}
    for pattern in patterns(16):
        if not struck(pattern, 28, 2) and struck(pattern, 28, 4):
            likely[struck(pattern, 28, 15)] += prior(pattern, 2 / 10_000)
    assert last_score([*seen, now]) == pytest.approx(likely[True] / sum(likely.values()), abs=2e-3)


def test_a_terminal_recovers_after_28_days_and_may_be_struck_again() -> None:
    # Genuine on day 0, fraud on day 1: struck on day 1, bad until day 28. Nothing is known of later days.
    seen = [(0.5, 2, 1, 50.0, 0), (1.5, 3, 1, 50.0, 2)]
    assert last_score([*seen, (28.4, 9, 1, 50.0, 0)]) > 0.999
    again = 1 - (1 - 2 / 10_000) ** 28
    card = 3 / 5_000 * 14 / 3  # of the payment's own card, of which no more is known: at most this
    assert again <= last_score([*seen, (29.4, 9, 1, 50.0, 0)]) <= again + card


@pytest.mark.parametrize("amount", [30.0, 110.0, 180.0])
def test_a_payment_is_multiplied_as_likely_as_all_ways_the_card_could_have_been_struck_say(
    amount: float,
) -> None:
    # The card's mean is 40 by the estimate. On day 10: a due payment that was not multiplied, and four not due.
    usual = [(0.5 + i / 100, 1, 10 + i, x, 0) for i, x in enumerate((20.0, 40.0, 60.0) * 2)]
    seen = [(2.5, 1, 2, 35.0, 0), (4.5, 1, 3, 150.0, 3), (7.5, 1, 4, 45.0, 0), (9.5, 1, 5, 130.0, 3)]
    now = (10.4, 1, 6, amount, 0)
    events = [*usual, *seen, now]
    plain = np.array([e[3] for e in events if e[4] != 3])
    mean = 2 * (np.sqrt(plain.mean() ** 2 + (plain**2).mean()) - plain.mean())
    multiplied = genuine = 0.0
    for pattern in patterns(11):
        weight = prior(pattern, 3 / 5_000)
        for time, _, _, x, scenario in [*usual, *seen]:
            share = 1 / 3 if struck(pattern, 14, int(time)) else 0.0
            if time <= 10.4 - 7:
                weight *= share if scenario == 3 else 1 - share
            else:
                weight *= (1 - share) * density(x, mean) + share * density(x / 5, mean) / 5
        share = 1 / 3 if struck(pattern, 14, 10) else 0.0
        multiplied += weight * share * density(amount / 5, mean) / 5
        genuine += weight * (1 - share) * density(amount, mean)
    bad = 1 - (1 - 2 / 10_000) ** 11  # the terminal, of which nothing is known
    expected = 1 - (1 - bad) * genuine / (multiplied + genuine)
    assert last_score(events) == pytest.approx(expected, rel=1e-6)


def test_an_amount_above_220_is_a_fraud_for_certain() -> None:
    assert last_score([(0.5, 1, 1, 90.0, 0), (9.5, 1, 1, 220.01, 1)]) == 1.0
    assert last_score([(0.5, 1, 1, 90.0, 0), (9.5, 1, 1, 220.0, 0)]) < 1.0


def test_labels_count_from_the_moment_on_that_they_are_due() -> None:
    now = (9.5, 9, 1, 50.0, 0)
    before = last_score([(2.49, 1, 1, 50.0, 0), now])
    assert last_score([(2.49, 1, 1, 50.0, 2), now]) > 0.99
    assert last_score([(2.51, 1, 1, 50.0, 2), now]) == pytest.approx(last_score([(2.51, 1, 1, 50.0, 0), now]))
    assert last_score([(2.49, 1, 1, 50.0, -1), now]) == pytest.approx(before, abs=1e-3)


def test_in_a_simulated_world_the_scores_are_probabilities_and_rank_far_above_the_amount() -> None:
    world = simulate(World(seed=5, customers=500, days=60))
    taken = {
        "customer_id": "CUSTOMER_ID",
        "terminal_id": "TERMINAL_ID",
        "amount": "TX_AMOUNT",
        "scenario": "TX_FRAUD_SCENARIO",
    }
    events = {name: world[column].to_numpy() for name, column in taken.items()}
    events["event_time"] = START_US + world["TX_TIME_SECONDS"].to_numpy() * 1_000_000
    wanted = world["TX_TIME_DAYS"].to_numpy() >= 30
    frauds = world["TX_FRAUD"].to_numpy()[wanted]
    scores = ceiling(events, wanted)
    # Frauds at one terminal come together: three times the spread of independent ones.
    assert scores.sum() == pytest.approx(frauds.sum(), abs=3 * 3 * np.sqrt((scores * (1 - scores)).sum()))
    assert average_precision(frauds, scores) > 0.6 > 2 * average_precision(frauds, events["amount"][wanted])
