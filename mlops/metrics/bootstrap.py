"""Percentile bootstrap intervals of several figures at once, from one resampling of clusters.

What belongs together, such as a card's events of a day, is drawn together. Every figure is computed on the same
draws, so that figures of one run can be compared with each other. (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapters 13 and 8.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlops.metrics.cards import CardDays
from mlops.metrics.figures import Floats, Interval, Ints, checked
from mlops.metrics.ranking import Ranking

__all__ = [
    "Draws",
    "Statistic",
    "bootstrap",
    "bootstrap_ap",
    "card_statistic",
    "clusters",
    "means",
    "paired_bootstrap",
    "ranking_statistic",
    "totals",
]

_CHUNK = 4_000_000  # resampled weights held at once, in numbers


class Draws:
    """Some rounds of a resampling: how often each cluster was drawn, [rounds, clusters], as whole numbers."""

    def __init__(self, counts: NDArray[np.integer]) -> None:
        self.counts = counts

    @cached_property
    def weights(self) -> Floats:
        """The same as doubles, for sums."""
        return self.counts.astype(np.float64)

    def of(self, cluster: Ints) -> NDArray[np.integer]:
        """How often what belongs to these clusters was drawn, [rounds, n]."""
        return np.take(self.counts, cluster, axis=1)


Statistic = Callable[
    [Draws], Mapping[str, Floats]
]  # figures [rounds] by name; NaN where a draw does not allow one


def clusters(*columns: ArrayLike) -> Ints:
    """One number per distinct row of `columns`: what belongs together when events are resampled."""
    _, codes = np.unique(np.asarray(columns[0]), return_inverse=True)
    for column in columns[1:]:
        values, more = np.unique(np.asarray(column), return_inverse=True)
        _, codes = np.unique(codes * len(values) + more, return_inverse=True)
    return codes.astype(np.int64)


def bootstrap(
    statistics: Sequence[Statistic],
    cluster: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
    most_undefined: float = 0.1,
) -> list[dict[str, Interval]]:
    """The figures of each statistic, by name, with their intervals.

    Args:
        cluster: a number per event, as `clusters` gives.
        most_undefined: a figure is left out where a larger share of the draws does not allow it; so it is where the
            events themselves do not.
    """
    number = int(np.max(cluster)) + 1
    values = [statistic(Draws(np.ones((1, number), np.uint16))) for statistic in statistics]
    parts: list[list[Mapping[str, Floats]]] = [[] for _ in statistics]
    for draws in _drawn(number, max(number, np.size(cluster)), rounds, seed):
        for part, statistic in zip(parts, statistics, strict=True):
            part.append(statistic(draws))
    tail = (1 - confidence) / 2
    found: list[dict[str, Interval]] = []
    for value, part in zip(values, parts, strict=True):
        intervals = {}
        for name, whole in value.items():
            drawn = np.concatenate([one[name] for one in part])
            undefined = np.isnan(drawn)
            if np.isnan(whole[0]) or undefined.all() or undefined.mean() > most_undefined:
                continue
            low, high = np.quantile(drawn[~undefined], [tail, 1 - tail])
            intervals[name] = Interval(
                value=float(whole[0]), low=float(low), high=float(high), confidence=confidence
            )
        found.append(intervals)
    return found


def _drawn(number: int, size: int, rounds: int, seed: int) -> Iterator[Draws]:
    """Rounds of drawing `number` of `number` clusters, as many at once as weights of `size` events allow."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // size)
    for start in range(0, rounds, chunk):
        some = min(chunk, rounds - start)
        drawn = rng.integers(0, number, (some, number)) + number * np.arange(some)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=some * number).reshape(some, number)
        yield Draws(counts.astype(np.uint16))


def ranking_statistic(
    y: ArrayLike, s: ArrayLike, cluster: Ints, rows: NDArray[Any] | slice = slice(None)
) -> Statistic:
    """`ap` and `auc` of some rows.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    labels, scores = checked(np.asarray(y)[rows], np.asarray(s)[rows])
    ranking = Ranking(labels, scores)
    place = cluster[rows][ranking.order]
    return lambda draws: ranking.figures(draws.of(place))


def card_statistic(
    day: ArrayLike, card: ArrayLike, y: ArrayLike, s: ArrayLike, cluster: Ints, k: int
) -> Statistic:
    """`card_precision`@k, where the clusters are cards' days. What a draw does not change: see `CardDays.shares`.

    Raises:
        InputError: no events, or the arrays do not fit each other.
    """
    labels, scores = checked(y, s, need_positive=False)
    days = CardDays(day, card, labels, scores, k)
    place = cluster[days.event]
    return lambda draws: {"card_precision": days.shares(draws.of(place))}


def totals(values: Mapping[str, ArrayLike], cluster: Ints) -> Statistic:
    """Sums of values [n] over the events, by name."""
    sums = _sums(list(values.values()), cluster)
    return lambda draws: dict(zip(values, (draws.weights @ sums).T, strict=True))


def means(values: Mapping[str, tuple[ArrayLike, ArrayLike]], cluster: Ints) -> Statistic:
    """Of each name, the sum of the first values [n] over the sum of the second, such as 1 for each event."""
    above = _sums([pair[0] for pair in values.values()], cluster)
    below = _sums([pair[1] for pair in values.values()], cluster)

    def statistic(draws: Draws) -> dict[str, Floats]:
        over, under = draws.weights @ above, draws.weights @ below
        ratios = np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
        return dict(zip(values, ratios.T, strict=True))

    return statistic


def _sums(values: Sequence[ArrayLike], cluster: Ints) -> Floats:
    """[clusters, values]"""
    number = int(cluster.max()) + 1
    return np.column_stack(
        [np.zeros((number, 0)), *(np.bincount(cluster, np.asarray(v, np.float64), number) for v in values)]
    )


def bootstrap_ap(
    y: ArrayLike,
    s: ArrayLike,
    cluster: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
) -> Interval:
    """Average precision with a bootstrap interval; whole clusters, such as a card's day, are drawn together.

    Args:
        cluster: a number per event, as `clusters` gives.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    statistic = ranking_statistic(y, s, np.asarray(cluster))
    return bootstrap(
        [statistic], cluster, rounds=rounds, confidence=confidence, seed=seed, most_undefined=1.0
    )[0]["ap"]


def paired_bootstrap(
    y: ArrayLike,
    s: ArrayLike,
    other: ArrayLike,
    cluster: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.9,
    seed: int = 0,
) -> Interval:
    """How much more average precision `s` has than `other` on the same events, with a paired bootstrap interval.

    Raises:
        InputError: no positive label, or the arrays do not fit each other.
    """
    place = np.asarray(cluster)
    ours, theirs = ranking_statistic(y, s, place), ranking_statistic(y, other, place)
    return bootstrap(
        [lambda draws: {"ap": ours(draws)["ap"] - theirs(draws)["ap"]}],
        cluster,
        rounds=rounds,
        confidence=confidence,
        seed=seed,
        most_undefined=1.0,
    )[0]["ap"]
