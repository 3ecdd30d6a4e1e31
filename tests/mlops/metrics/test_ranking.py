"""Areas and curves are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from mlops import metrics
from mlops.errors import InputError


def events(n: int, frauds: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that know something of them."""
    rng = np.random.default_rng(seed)
    y = np.zeros(n, np.int64)
    y[rng.choice(n, frauds, replace=False)] = 1
    return y, rng.normal(size=n) + 1.5 * y


# Few distinct scores, so that there are ties.
ranked = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(y for y, _ in rows) < len(rows)
)


@settings(deadline=None)
@given(ranked)
def test_auc_and_average_precision_are_scikit_learns_with_ties(rows: list[tuple[int, int]]) -> None:
    y, s = (np.array(column) for column in zip(*rows, strict=True))
    assert metrics.auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert metrics.average_precision(y, s) == pytest.approx(average_precision_score(y, s), abs=1e-12)


def test_auc_and_average_precision_are_scikit_learns_on_rare_frauds() -> None:
    y, s = events(13_000, 110)
    assert metrics.auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert metrics.average_precision(y, s) == pytest.approx(average_precision_score(y, s), abs=1e-12)


def test_thinned_curve_lies_on_the_whole_one_and_keeps_its_ends() -> None:
    y, s = events(5_000, 200)
    precision, recall, threshold = precision_recall_curve(y, s)
    curve = metrics.precision_recall_curve(y, s, points=50)
    whole = set(zip(recall.round(9), precision.round(9), strict=True))
    assert len(curve.recall) <= 50
    assert set(zip(np.round(curve.recall, 9), np.round(curve.precision, 9), strict=True)) <= whole
    assert set(curve.threshold) <= set(threshold)
    assert curve.recall == sorted(curve.recall)
    assert curve.recall[-1] == 1
    assert curve.threshold[0] == s.max()


@pytest.mark.parametrize(
    ("y", "s", "message"),
    [
        ([0, 0], [0.1, 0.2], "no positive label"),
        ([0, 1], [0.1, float("nan")], "not a number"),
        ([0, 1], [0.1], "do not fit"),
        ([], [], "no events"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(y: list[int], s: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.average_precision(y, s)


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="one class only"):
        metrics.auc([1, 1], [0.1, 0.2])


def test_the_roc_curve_lies_on_the_whole_one_and_keeps_its_ends() -> None:
    y, s = events(5_000, 200)
    false, true, _ = roc_curve(y, s, drop_intermediate=False)
    curve = metrics.roc_curve(y, s, points=50)
    points = list(
        zip(np.round(curve.false_positive_rate, 9), np.round(curve.true_positive_rate, 9), strict=True)
    )
    assert len(points) <= 52
    assert set(points) <= set(zip(false.round(9), true.round(9), strict=True))
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    with pytest.raises(InputError, match="one class only"):
        metrics.roc_curve([1, 1], [0.1, 0.2])
