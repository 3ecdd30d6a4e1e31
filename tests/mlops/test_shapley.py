"""Contributions are Shapley values: those of brute force where there is room, and close to them where there is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import factorial

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.shapley import Explainer, Floats

Model = Callable[[Floats], Floats]


def exact(model: Model, row: Floats, reference: Floats) -> NDArray[np.float64]:
    """Shapley's formula, feature by feature and coalition by coalition, over each reference row."""
    f = len(row)
    groups = [members for size in range(f + 1) for members in combinations(range(f), size)]
    mixed = np.repeat(reference[None], len(groups), axis=0)
    for place, members in enumerate(groups):
        mixed[place][:, list(members)] = row[list(members)]
    scores = model(mixed.reshape(-1, f)).astype(np.float64).reshape(len(groups), len(reference))
    worth = dict(zip(groups, scores.mean(axis=1), strict=True))
    values = np.zeros(f)
    for members in groups:
        weight = (
            factorial(len(members)) * factorial(f - 1 - len(members)) / factorial(f)
            if members != groups[-1]
            else 0
        )
        for at in set(range(f)) - set(members):
            values[at] += weight * (worth[tuple(sorted((*members, at)))] - worth[members])
    return values


def rows(n: int, f: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, f)).astype(np.float32)


def trees(f: int, *, seed: int = 0, quantity: bool = False) -> Model:
    """Trees of depth 3 in the log-odds of a probability, or in a quantity, in double precision."""
    random = np.random.default_rng(seed)
    at = random.integers(0, f, (60, 7))
    cut, leaf = random.normal(size=(60, 7)), random.normal(scale=0.5, size=(60, 8))

    def model(features: Floats) -> Floats:
        total = np.zeros(len(features))
        for tree in range(60):
            node = np.zeros(len(features), int)
            for _ in range(3):
                right = features[np.arange(len(features)), at[tree, node]] > cut[tree, node]
                node = 2 * node + 1 + right
            total += leaf[tree, node - 7]
        return (1000 * total if quantity else 1 / (1 + np.exp(-total))).astype(np.float64)  # type: ignore[return-value]

    return model


@pytest.mark.parametrize("f", [1, 2, 5, 8])
@pytest.mark.parametrize("quantity", [False, True], ids=["classes", "a quantity"])
def test_enumerated_they_are_those_of_brute_force(f: int, quantity: bool) -> None:
    model, reference = trees(f, quantity=quantity), rows(2, f, seed=1)
    explain = Explainer(model, reference, budget=2 * 2**f)
    for row in rows(4, f, seed=2):
        wanted = exact(model, row, reference)
        assert explain.contributions(row) == pytest.approx(
            wanted, rel=1e-9, abs=1e-12 * (1 + 1000 * quantity)
        )


@pytest.mark.parametrize("quantity", [False, True], ids=["classes", "a quantity"])
def test_sampled_they_are_close_and_rank_alike(quantity: bool) -> None:
    f = 8
    model, reference = trees(f, quantity=quantity), rows(2, f, seed=1)
    explain = Explainer(model, reference, budget=200)  # of 508 coalitions
    errors, ranks, tops = [], [], []
    for row in rows(20, f, seed=2):
        wanted, found = exact(model, row, reference), explain.contributions(row)
        errors.append(np.abs(found - wanted).max() / np.abs(wanted).sum())
        ranks.append(np.corrcoef(np.argsort(np.argsort(wanted)), np.argsort(np.argsort(found)))[0, 1])
        tops.append(np.argmax(np.abs(found)) == np.argmax(np.abs(wanted)))
    # Largest error of a row, in shares of all that its features move.
    assert 0 < np.mean(errors) < 0.02 and max(errors) < 0.05
    assert np.mean(ranks) > 0.98
    assert np.mean(tops) >= 0.95


def test_sampled_they_are_exact_where_features_interact_in_pairs_only() -> None:
    f = 30
    random = np.random.default_rng(3)
    alone, pairs = random.normal(size=f), np.triu(random.normal(size=(f, f)), 1)

    def model(features: Floats) -> Floats:
        x = features.astype(np.float64)
        return x @ alone + np.einsum("ni,ij,nj->n", x, pairs, x)  # type: ignore[return-value]

    row, reference = rows(1, f, seed=4)[0], rows(2, f, seed=5)
    wanted = np.zeros(f)
    for other in reference.astype(np.float64):
        step = row - other
        both = (pairs + pairs.T) / 2
        wanted += step * alone + step * (both @ (row + other))  # half of each pair's change goes to either
    assert Explainer(model, reference).contributions(row) == pytest.approx(wanted / 2, abs=1e-8)


@pytest.mark.parametrize("f", [3, 8, 15, 64, 200])
def test_they_add_up_to_the_score_less_the_mean_score_of_the_reference(f: int) -> None:
    model, reference = trees(f), rows(3, f, seed=1)
    explain = Explainer(model, reference)
    assert explain.base == pytest.approx(model(reference).mean())
    for row in rows(5, f, seed=2):
        assert explain.contributions(row).sum() == pytest.approx(model(row[None])[0] - explain.base, abs=1e-9)


@pytest.mark.parametrize(("f", "tolerance"), [(6, 1e-12), (12, 0.02)], ids=["enumerated", "sampled"])
def test_the_order_of_the_features_does_not_matter(f: int, tolerance: float) -> None:
    model, reference, row = trees(f), rows(2, f, seed=1), rows(1, f, seed=2)[0]
    order = np.random.default_rng(7).permutation(f)
    back = np.argsort(order)
    turned = Explainer(lambda features: model(features[:, back]), reference[:, order])
    found = turned.contributions(row[order])
    assert found[back] == pytest.approx(Explainer(model, reference).contributions(row), abs=tolerance)


def test_a_feature_that_the_model_does_not_read_or_that_is_typical_adds_nothing() -> None:
    model, reference = trees(11), rows(2, 12, seed=1)
    row = rows(1, 12, seed=2)[0]
    row[3] = reference[0, 3] = reference[1, 3]
    found = Explainer(lambda features: model(features[:, :11]), reference).contributions(row)
    assert found[3] == 0
    assert abs(found[11]) < 0.01
    assert not Explainer(model, reference[:1, :11]).contributions(reference[0, :11]).any()


def test_the_same_row_has_the_same_values() -> None:
    model, reference, row = trees(14), rows(2, 14, seed=1), rows(1, 14, seed=2)[0]
    first = Explainer(model, reference).contributions(row)
    assert (Explainer(model, reference).contributions(row) == first).all()
    assert (Explainer(model, reference, seed=1).contributions(row) != first).any()


@pytest.mark.parametrize(("f", "budget"), [(15, 384), (15, 100), (4, 384), (40, 384)])
def test_a_row_costs_one_call_and_no_more_scores_than_it_may(f: int, budget: int) -> None:
    calls = []
    model, reference = trees(f), rows(2, f, seed=1)

    def counted(features: Floats) -> Floats:
        calls.append(len(features))
        return model(features)

    explain = Explainer(counted, reference, budget=budget)
    calls.clear()
    explain.contributions(rows(1, f, seed=2)[0])
    (scores,) = calls
    assert scores <= 1 + max(budget, 2 * 4 * f)


def test_importance_is_the_share_of_the_mean_contribution() -> None:
    model, reference = trees(5), rows(2, 5, seed=1)
    explain, some = Explainer(model, reference), rows(10, 5, seed=2)
    shares = explain.importance(some)
    size = np.mean([np.abs(exact(model, row, reference)) for row in some], axis=0)
    assert shares == pytest.approx(size / size.sum(), rel=1e-9)
    assert shares.sum() == pytest.approx(1)


def test_a_model_that_reads_nothing_gives_equal_shares() -> None:
    explain = Explainer(lambda features: np.ones(len(features), np.float32), rows(2, 4))
    assert explain.importance(rows(3, 4, seed=1)) == pytest.approx([0.25] * 4)


def test_rows_of_another_width_and_no_rows_are_refused() -> None:
    model, reference = trees(5), rows(2, 5)
    with pytest.raises(ValueError, match="a row must be"):
        Explainer(model, reference).contributions(rows(1, 4)[0])
    with pytest.raises(ValueError, match="one row or more"):
        Explainer(model, reference).importance(rows(0, 5))
    with pytest.raises(ValueError, match="k of at least 1"):
        Explainer(model, rows(0, 5))
