"""How well frauds of the simulated kind can be told at all: a scorer that knows the processes and the due labels.

It knows what the simulator does (`payments`: rates, durations, shares, factors), the mean amount of each card, the
amounts paid up to now, and, of payments at least `delay_days` old, what they were. It does not know who was struck
when. Its score is the probability of fraud given all that. So nothing that knows as much ranks better, but for luck.

Of a payment of amount x at time t on day d, with card c of mean m and terminal k:

    P(fraud) = 1                                                                if x > 220 (scenario 1)
             = 1 − (1 − P(k is bad on d)) (1 − P(x was multiplied))             otherwise

Terminals and cards are struck alike: a hidden Markov chain over days, whose state is the age in days of the latest
strike, or that there is none whose effect lasts. A day strikes with probability h; with the ages P(a) of one day,
those of the next are P(0) = h, P(a + 1) = (1 − h) P(a). What is known of a payment changes the odds of all ages against
"none" by a factor, its likelihood ratio.

    scenario 2, terminals: h = 2 / 10,000, lasting 28 days. A due payment of scenario 2 makes it certain, one of
        scenario 0 or 1 impossible; scenario 3 overwrites, and says nothing. So do payments that are not due.
    scenario 3, cards: h = 3 / 5,000, lasting 14 days, and 1/3 of the payments are multiplied by 5. A due payment of
        scenario 3 makes it certain, any other has the ratio 2/3. One that is not due has r(x) = 2/3 + g(x) / 3 f(x),
        with g(x) = f(x / 5) / 5 and f the density of N(m, m / 2), drawn again from U(0, 2 m) if negative.

    With P(c is compromised on d) = p before this payment,  P(x was multiplied) = p g(x) / (p g(x) + (3 − p) f(x)).

m, the state that a real scorer would have to learn, is the maximum likelihood estimate from all the card's payments
that were not multiplied, later ones included. What is not used: that the number of strikes a day is constant. Knobs of
the world that differ from the published ones are not known, and labels that are wrong are not counted in: the
scenario is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from usecases.fraud.world import Floats, Ints

__all__ = ["COLUMNS", "ceiling"]

COLUMNS = ("event_time", "customer_id", "terminal_id", "amount", "scenario")

_DAY_US = 86_400_000_000
_LARGE_AMOUNT = 220.0
_FACTOR, _SHARE = 5.0, 1 / 3
_CERTAIN = 600.0  # a log likelihood ratio: exp of it and of minus it are finite, and nothing is left in doubt


class _Chain(msgspec.Struct, frozen=True, kw_only=True):
    """Strikes with a `hazard` a day whose effect lasts so many days. States [n, lasting + 1]: ages, and none."""

    hazard: float
    lasting: int

    def rest(self, number: int) -> Floats:
        """The state before the first day: nobody was struck."""
        state = np.zeros((number, self.lasting + 1))
        state[:, -1] = 1
        return state

    def next_day(self, state: Floats) -> Floats:
        after = np.empty_like(state)
        after[:, 0] = self.hazard
        after[:, 1:] = (1 - self.hazard) * state[:, :-1]
        after[:, -1] += (1 - self.hazard) * state[:, -1]
        return after

    def told(self, state: Floats, log_ratio: Floats) -> Floats:
        """The state after what has been seen; `log_ratio` [n] of the effect against none."""
        weighed = state * np.exp(np.clip(log_ratio, -_CERTAIN, _CERTAIN))[:, None]
        weighed[:, -1] = state[:, -1]
        result: Floats = weighed / weighed.sum(axis=1, keepdims=True)
        return result


_TERMINALS = _Chain(hazard=2 / 10_000, lasting=28)
_CARDS = _Chain(hazard=3 / 5_000, lasting=14)


def ceiling(columns: Mapping[str, NDArray[Any]], wanted: NDArray[np.bool_], *, delay_days: int = 7) -> Floats:
    """The probability of fraud of the `wanted` events.

    Args:
        columns: `COLUMNS` of all events from the first day on, in order of (time, id), [n] each; times in
            microseconds since 1970, UTC; scenario -1 where it is not known.
        wanted: [n], which events to score.
        delay_days: at what age it is known what a payment was; at least 1.

    Returns:
        a score for each wanted event, in their order.
    """
    time_us, amount, scenario = (columns[name] for name in ("event_time", "amount", "scenario"))
    time_us = time_us - time_us[0] // _DAY_US * _DAY_US
    rows = np.flatnonzero(wanted)
    terminal = np.unique(columns["terminal_id"], return_inverse=True)[1]
    card = np.unique(columns["customer_id"], return_inverse=True)[1]

    of_terminal = np.select([scenario == 2, np.isin(scenario, (0, 1))], [_CERTAIN, -_CERTAIN], 0.0)
    bad = _struck(_TERMINALS, terminal, time_us, of_terminal, np.zeros(len(time_us)), rows, delay_days)

    usual = np.isin(scenario, (0, 1, 2))
    of_card = np.select([scenario == 3, usual], [_CERTAIN, np.log(1 - _SHARE)], 0.0)
    log_odds = _log_multiplied(amount, _means(card, amount, usual)[card])
    of_amount = np.log(1 - _SHARE + _SHARE * np.exp(log_odds))
    compromised = _struck(_CARDS, card, time_us, of_card, of_amount, rows, delay_days)
    odds = np.exp(log_odds[rows]) * compromised * _SHARE / (1 - compromised * _SHARE)

    scores: Floats = 1 - (1 - bad) / (1 + odds)
    scores[amount[rows] > _LARGE_AMOUNT] = 1.0
    return scores


def _struck(
    chain: _Chain, key: Ints, time_us: Ints, due: Floats, fresh: Floats, rows: Ints, delay_days: int
) -> Floats:
    """For each of the `rows`, the probability that its key is under the effect of a strike, itself left out.

    Args:
        key, time_us: of all events [n], keys counted from 0, times in order.
        due, fresh: [n], log likelihood ratio of each event once its label is due, and before.
    """
    starts = np.searchsorted(time_us, np.arange(time_us[-1] // _DAY_US + 2) * _DAY_US)
    number = int(key.max()) + 1
    total_due, total_fresh = _Totals(key, due), _Totals(key, fresh)
    state = chain.rest(number)
    states = [state] * (delay_days + 1)  # at the end of each of the last days, the oldest first
    found = np.empty(len(rows))
    for day, (begin, end) in enumerate(pairwise(starts)):
        places = np.arange(*np.searchsorted(rows, (begin, end)))
        own = rows[places]
        due_until = np.searchsorted(time_us, time_us[own] - delay_days * _DAY_US, side="right")
        now = states[0][key[own]]
        for then in range(day - delay_days, day + 1):
            first, last = (int(starts[max(0, d)]) for d in (then, then + 1))
            until = own if then == day else np.full(len(own), last)
            known = np.clip(due_until, first, until)
            ratio = total_due.between(key[own], first, known) + total_fresh.between(key[own], known, until)
            now = chain.told(chain.next_day(now), ratio)
        found[places] = 1 - now[:, -1]
        of_day = np.bincount(key[begin:end], due[begin:end], minlength=number)
        state = chain.told(chain.next_day(state), of_day.astype(np.float64))
        states = [*states[1:], state]
    return found


class _Totals:
    """Sums of a value over a key's events between two places in time; `key` and `value` [n] in order of time."""

    def __init__(self, key: Ints, value: Floats) -> None:
        order = np.argsort(key, kind="stable")
        self._stride = len(key) + 1
        self._places = key[order] * self._stride + order
        self._running = np.concatenate([[0.0], np.cumsum(value[order])])

    def between(self, key: Ints, first: Ints | int, until: Ints) -> Floats:
        """Over the events at the places `first` ≤ place < `until`."""
        low, high = (np.searchsorted(self._places, key * self._stride + place) for place in (first, until))
        total: Floats = self._running[high] - self._running[low]
        return total


def _means(card: Ints, amount: Floats, usual: NDArray[np.bool_]) -> Floats:
    """Of each card, the maximum likelihood estimate of m from amounts ~ N(m, m / 2): m² + 4 m E x − 4 E x² = 0."""
    number = int(card.max()) + 1
    counts = np.bincount(card[usual], minlength=number)
    first, second = (np.bincount(card[usual], amount[usual] ** n, minlength=number) for n in (1, 2))
    if not counts.all():  # cards of multiplied payments only: as the average payment
        first[counts == 0], second[counts == 0] = amount[usual].mean(), (amount[usual] ** 2).mean()
    counts = np.maximum(counts, 1)
    means = 2 * (np.sqrt((first / counts) ** 2 + second / counts) - first / counts)
    return np.maximum(means, 0.01)


def _log_multiplied(amount: Floats, mean: Floats) -> Floats:
    """log g(x) / f(x): how much likelier an amount is multiplied than not."""
    ratio: Floats = _log_density(amount / _FACTOR, mean) - np.log(_FACTOR) - _log_density(amount, mean)
    return np.minimum(ratio, _CERTAIN)


def _log_density(amount: Floats, mean: Floats) -> Floats:
    normal = norm.logpdf(amount, mean, mean / 2)
    redrawn = np.where(amount < 2 * mean, norm.logcdf(-2) - np.log(2 * mean), -np.inf)
    density: Floats = np.logaddexp(normal, redrawn)
    return density
