"""Whether an ONNX graph says what the original says, above all where a rounding would show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.errors import ParityError
from mlops.features import Calendar, FeatureSet, Last, Rolling
from mlops.model import Floats, Model
from training.onnx_graph import tree_splits

__all__ = ["Parity", "compare", "fallbacks", "fresh_sample"]

_EXTREME, _SPLIT, _NEAR = 0.10, 0.15, 0.05  # shares of a sample
_HUGE = 1e6  # times the largest value seen
_LARGEST = 1e30  # products of two such numbers still fit into float64, and sums of many into float32
_HALVINGS = 40  # from any float32 to its neighbour, but for numbers near nothing


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """The largest difference between two scorers, as `compare` measures it, and over how many rows."""

    rows: int
    max_abs_diff: float


def fresh_sample(
    features: Floats,
    rows: int,
    *,
    seed: int,
    graph: bytes = b"",
    thresholds: Sequence[float] = (),
    missing: Sequence[float | None] = (),
) -> Floats:
    """`rows` rows [rows, f] that are like `features` [n, f], and such as a graph may get wrong.

    Some are as they are, some with values moved by the smallest step that float32 knows, and some altered: each value
    scaled by up to a tenth either way, a fifth of the values taken from another row. In a tenth of the rows a feature
    is 0, its least or largest value, a million times that, or what it is where it is missing. Of a `graph`, some have
    a feature at the value where a tree splits it, or one step beside it; others are pairs of neighbours between which
    the graph's score crosses a threshold, or jumps.

    Args:
        graph: with `features` and `score`, as serving reads it.
        thresholds: scores at which something is decided.
        missing: what stands for a missing value [f]; None where a feature is never missing. See `fallbacks`.
    """
    rng = np.random.default_rng(seed)
    parts = [_extremes(features, max(1, int(rows * _EXTREME)), missing, rng)]
    if graph:
        parts.append(_at_splits(features, int(rows * _SPLIT), graph, rng))
        parts.append(_neighbours(features, int(rows * _NEAR), graph, thresholds, rng))
    left = rows - sum(map(len, parts))
    real, altered = _drawn(features, left - left // 2, rng), _drawn(features, left // 2, rng)
    altered = np.where(rng.random(altered.shape) < 0.2, _drawn(features, left // 2, rng), altered)
    altered = altered * rng.uniform(0.9, 1.1, altered.shape).astype(np.float32)
    steps = np.nextafter(real, rng.choice(np.array([-np.inf, np.inf], np.float32), real.shape))
    real = np.where(rng.random(real.shape) < 0.1, steps, real)
    return np.concatenate([real, altered, *parts]).astype(np.float32)


def fallbacks(features: FeatureSet) -> tuple[float | None, ...]:
    """What each feature is where what it is made of is missing; None where that is never so."""
    found: list[float | None] = []
    for feature in features.features:
        if isinstance(feature, Rolling | Last):
            found += [aggregate.fallback for aggregate in feature.aggregates()]
        else:
            known = isinstance(feature, Calendar) and not feature.column  # the event time is never missing
            found += [None if known else getattr(feature, "fallback", None)] * len(feature.names)
    return tuple(found)


def compare(
    predict: Callable[[Floats], Floats], graph: bytes, sample: Floats, *, scale: float = 1.0
) -> Parity:
    """The largest difference between `predict` and the ONNX graph over `sample` [n, f].

    A difference counts as a share of `scale`, or of the score where that is larger: so it is absolute for
    probabilities, and no finer than single precision for quantities.

    Raises:
        BundleError: ONNX Runtime does not take the graph.
        ParityError: a score is not a finite number per row.
    """
    ours, theirs = Model(graph)(sample), predict(sample)
    finite = np.isfinite(ours) & np.isfinite(theirs) if ours.shape == (len(sample),) else np.zeros(1, bool)
    if not finite.all():
        raise ParityError(
            "a score is not a finite number per row",
            where="exported graph",
            todo="let the model give one for 0, for huge values and for the fallback of each feature",
        )
    difference = np.abs(ours.astype(np.float64) - theirs) / np.maximum(np.abs(theirs), scale)
    return Parity(rows=len(sample), max_abs_diff=float(difference.max()))


def _drawn(features: Floats, rows: int, rng: np.random.Generator) -> Floats:
    drawn: Floats = features[rng.integers(0, len(features), rows)]
    return drawn


def _extremes(
    features: Floats, rows: int, missing: Sequence[float | None], rng: np.random.Generator
) -> Floats:
    """Rows with one feature at an extreme, and one row each with all of them there, a row of a new card among them."""
    low, high = features.min(axis=0), features.max(axis=0)
    with np.errstate(over="ignore"):
        huge = np.minimum(_HUGE * np.maximum(np.abs(high), 1), _LARGEST)
        tiny = np.where(low < 0, np.maximum(_HUGE * np.minimum(low, -1), -_LARGEST), 0)
    levels = [np.zeros_like(low), low, high, huge, tiny]
    if missing:
        levels.append(np.array([np.nan if value is None else value for value in missing]))
    values = np.stack(levels).astype(np.float32)
    found = _drawn(features, rows, rng)
    chosen, columns = rng.integers(0, len(values), rows), rng.integers(0, features.shape[1], rows)
    there = np.zeros(found.shape, np.bool_)
    there[np.arange(rows), columns] = True
    whole = min(rows, len(values))
    chosen[:whole], there[:whole] = np.arange(whole), True
    extreme = values[chosen]
    return np.where(there & ~np.isnan(extreme), extreme, found)  # what is never missing stays as it is


def _at_splits(features: Floats, rows: int, graph: bytes, rng: np.random.Generator) -> Floats:
    """Rows with one feature at a split of a tree, or the next float32 above or below."""
    columns, values = tree_splits(graph)
    rows = rows if len(columns) else 0
    found = _drawn(features, rows, rng)
    if rows:
        chosen = rng.choice(len(columns), rows, replace=rows > len(columns))
        at = values[chosen]
        side = rng.integers(0, 3, rows)
        at = np.where(side == 1, np.nextafter(at, np.float32(np.inf)), at)
        at = np.where(side == 2, np.nextafter(at, np.float32(-np.inf)), at)
        usable = np.isfinite(at)  # a split off what is missing is at infinity
        found[np.flatnonzero(usable), columns[chosen][usable]] = at[usable]
    return found


def _neighbours(
    features: Floats, rows: int, graph: bytes, thresholds: Sequence[float], rng: np.random.Generator
) -> Floats:
    """Pairs of rows, as near to each other as float32 allows, between which the score crosses a threshold or jumps."""
    model = Model(graph)
    pairs = rows // 2
    pool = _drawn(features, 20 * pairs, rng)
    scores = model(pool).astype(np.float64)
    ends: list[NDArray[np.int64]] = []
    crossed: list[NDArray[np.float64]] = []
    share = pairs // (len(thresholds) + 1)
    for threshold in thresholds:
        under, over = np.flatnonzero(scores < threshold), np.flatnonzero(scores >= threshold)
        if len(under) and len(over):
            ends.append(np.stack([rng.choice(under, share), rng.choice(over, share)]))
            crossed.append(np.full(share, threshold))
    jumps = pairs - share * len(ends)
    drawn = rng.integers(0, len(pool), (2, jumps))
    drawn = np.where(scores[drawn[0]] <= scores[drawn[1]], drawn, drawn[::-1])
    ends.append(drawn)
    crossed.append(scores[drawn].mean(axis=0))
    below, above = (pool[end] for end in np.concatenate(ends, axis=1))
    border = np.concatenate(crossed)
    for _ in range(_HALVINGS):
        middle = (below / 2 + above / 2).astype(np.float32)
        beyond = (model(middle) >= border)[:, None]
        below, above = np.where(beyond, below, middle), np.where(beyond, middle, above)
    return np.concatenate([below, above])
