"""Card precision@k is that of a plain reading of the protocol, also where card-days are drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from mlops import metrics
from mlops.metrics.cards import CardDays


def test_card_precision_takes_a_cards_highest_event_and_forgets_cards_that_were_found() -> None:
    #        day, card, fraud, score
    rows = [
        (0, "a", 0, 0.1),
        (0, "a", 1, 0.9),  # card a scores .9 and is a fraud
        (0, "b", 0, 0.8),
        (0, "c", 1, 0.2),  # third: not looked at
        (1, "a", 1, 0.9),  # found yesterday
        (1, "b", 0, 0.7),
        (1, "c", 1, 0.6),
        (1, "d", 1, 0.5),  # third: not looked at
        (2, "d", 1, 0.4),  # two cards only, still a share of 2
    ]
    day, card, y, s = zip(*rows, strict=True)
    found = metrics.card_precision_at_k(day, card, y, s, k=2)
    assert found.value == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    # A perfect scorer finds a and c, then d; nothing is left on the third day.
    assert found.oracle == pytest.approx((2 / 2 + 1 / 2 + 0) / 3)


def test_card_precision_is_that_of_a_plain_reading_of_the_protocol() -> None:
    rng = np.random.default_rng(1)
    n, k = 3_000, 10
    day, card = rng.integers(0, 5, n), rng.integers(0, 200, n)
    y, s = (rng.random(n) < 0.05).astype(int), rng.random(n)
    found, shares = set(), []
    for d in sorted(set(day)):
        cards: dict[int, tuple[float, int]] = {}
        for i in np.flatnonzero(day == d):
            if card[i] not in found:
                score, fraud = cards.get(card[i], (-1.0, 0))
                cards[card[i]] = (max(score, s[i]), max(fraud, y[i]))
        top = sorted(cards, key=lambda c: -cards[c][0])[:k]
        hits = {c for c in top if cards[c][1]}
        shares.append(len(hits) / k)
        found |= hits
    assert metrics.card_precision_at_k(day, card, y, s, k).value == pytest.approx(np.mean(shares))


def test_what_is_drawn_twice_is_checked_twice_and_found_twice() -> None:
    y = np.array([1, 0, 1, 1, 0])
    days = CardDays([0, 0, 0, 1, 1], ["a", "b", "c", "a", "b"], y, np.array([0.9, 0.8, 0.7, 0.9, 0.1]), k=2)
    assert days.event.tolist() == [
        0,
        1,
        2,
        4,
    ]  # card a was found on the first day, and is not there on the second
    drawn = np.array([[1, 1, 1, 1], [2, 0, 1, 0], [0, 1, 2, 1], [0, 0, 0, 0], [1, 0, 5, 3]])
    assert days.shares(drawn).tolist() == pytest.approx([0.25, 0.5, 0.25, 0, 0.5])


def test_a_draw_counts_as_if_its_card_days_stood_there_so_many_times() -> None:
    rng = np.random.default_rng(2)
    n, k = 400, 7
    day, card = rng.integers(0, 3, n), rng.integers(0, 60, n)
    y, s = (rng.random(n) < 0.1).astype(int), rng.random(n)
    days = CardDays(day, card, y, s, k)
    weights = rng.integers(0, 4, (20, len(days.event)))
    for times, share in zip(weights, days.shares(weights), strict=True):
        found = []
        for start, end in zip(days.starts[:-1], days.starts[1:], strict=True):
            copies = np.repeat(days.fraud[start:end], times[start:end])
            found.append(copies[:k].sum() / k)
        assert share == pytest.approx(np.mean(found))


def test_the_interval_lies_around_the_figure() -> None:
    """Cards found on one day come back where removal is drawn anew; then the figure lies below its own interval."""
    rng = np.random.default_rng(3)
    n = 4_000
    day, card = rng.integers(0, 7, n), rng.integers(0, 300, n)
    y = (rng.random(300) < 0.15)[card].astype(int)
    s = y * 0.5 + rng.random(n)
    cluster = metrics.clusters(day, card)
    statistic = metrics.card_statistic(day, card, y, s, cluster, 10)
    found = metrics.bootstrap([statistic], cluster)[0]["card_precision"]
    assert found.value == metrics.card_precision_at_k(day, card, y, s, 10).value
    assert found.low < found.value < found.high
