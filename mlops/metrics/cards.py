"""Card precision@k, of Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), ch. 4.

Each day the k cards with the highest scores are checked; the mean share found fraudulent counts. A card scores as its
highest event of the day, and is fraudulent if any of its events of the day is. A card found is not looked at on later
days. Ties go to the lower card. The share is of k, also on days with fewer cards.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.metrics.figures import Floats, Ints, Masks, checked

__all__ = ["CardDays", "CardPrecision", "card_precision_at_k"]


class CardPrecision(msgspec.Struct, frozen=True, kw_only=True):
    """Card precision@k, what a scorer that knows the labels would reach on the same events, and k."""

    value: float
    oracle: float
    k: int


def card_precision_at_k(
    day: ArrayLike, card: ArrayLike, y: ArrayLike, s: ArrayLike, k: int = 100
) -> CardPrecision:
    """Card precision@k of scores.

    Args:
        day, card: of each event; any type that can be sorted.

    Raises:
        InputError: no events, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    return CardPrecision(
        value=CardDays(day, card, labels, scores, k).share(),
        oracle=CardDays(day, card, labels, labels.astype(np.float64), k).share(),
        k=k,
    )


class CardDays:
    """The cards that are looked at on each day, in the order in which they are, to be weighted again and again.

    Fields:
        event: an event of each, [m], day by day.
        fraud: [m], whether it is fraudulent.
        starts: where each day begins.
    """

    def __init__(self, day: ArrayLike, card: ArrayLike, labels: Ints, scores: Floats, k: int) -> None:
        days = np.unique(np.asarray(day), return_inverse=True)[1]
        cards = np.unique(np.asarray(card), return_inverse=True)[1]
        self.k = k
        found = np.zeros(cards.max() + 1, np.bool_)
        events: list[Ints] = []
        frauds: list[Masks] = []
        for number in range(days.max() + 1):
            rows = np.flatnonzero((days == number) & ~found[cards])
            score = np.full(len(found), -np.inf)
            fraud = np.zeros(len(found), np.bool_)
            an_event = np.zeros(len(found), np.int64)
            np.maximum.at(score, cards[rows], scores[rows])
            fraud[cards[rows][labels[rows] == 1]] = True
            an_event[cards[rows]] = rows
            seen = np.unique(cards[rows])
            ranked = seen[np.argsort(-score[seen], kind="stable")]
            top = ranked[:k]
            found[top[fraud[top]]] = True
            events.append(an_event[ranked])
            frauds.append(fraud[ranked])
        self.event, self.fraud = np.concatenate(events), np.concatenate(frauds)
        self.starts = np.cumsum([0, *(len(part) for part in events)])

    def share(self) -> float:
        """Card precision@k."""
        return float(self.shares(np.ones((1, len(self.event)), np.int64))[0])

    def shares(self, weights: NDArray[np.integer]) -> Floats:
        """Card precision@k [rounds] where each of these is there so many times: weights [rounds, m].

        The first k of a day are checked, copies counted. Who is not looked at any more stays as it was: drawn anew, a
        card whose day of finding was not drawn would come back, and what is found again would be counted as gained.
        """
        found = np.zeros((len(weights), len(self.starts) - 1))
        for number, (start, end) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            checked_ = np.minimum(np.cumsum(weights[:, start:end], axis=1, dtype=np.int64), self.k)
            taken = np.diff(checked_, axis=1, prepend=0)
            found[:, number] = taken @ self.fraud[start:end]
        shares: Floats = found.mean(axis=1) / self.k
        return shares
