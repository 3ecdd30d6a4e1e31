"""What reasons for a score cost and how right they are: the published features, a hundred trees, one core.

A bundle is written and opened as training and serving do it. Exact values are Shapley's formula over all 2^15
coalitions, against the same reference rows. Where the package `shap` is installed, its two explainers that take any
model, too, explain the same rows with as many scores.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.bundle import open_bundle
from mlops.model import Model, open_model
from mlops.reasons import ReasonCodes
from mlops.settings import Settings
from mlops.shapley import BUDGET, Explainer, Floats
from mlops.signing import PUBLIC_KEY
from mlops.storage import write_json
from pipelines.bench_trees import TREES, WORLD, train_trees

__all__ = ["Accuracy", "ReasonsBench", "bench_reasons"]


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How far contributions are from exact ones, over the explained rows.

    Fields:
        error: mean over the rows of the largest error of a feature, in the score's unit. worst_error: the worst row's.
        error_share: of all that a row's features move, how much is at the wrong ones.
        top1_equal: rows whose strongest reason is the same, as a share. top3_equal: of the three strongest, how many.
    """

    error: float
    worst_error: float
    error_share: float
    top1_equal: float
    top3_equal: float


class ReasonsBench(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Fields:
        p50_ms, p99_ms: of the three strongest reasons for a row, in words, one row at a time.
        scores_a_row: how many scores explaining a row takes, on average.
        peers: name → median milliseconds and accuracy of others with as many scores; none without `shap`.
        load_before: the load average of the minute before: above 0.5 times are not to be trusted.
    """

    p50_ms: float
    p99_ms: float
    scores_a_row: float
    accuracy: Accuracy
    features: int
    trees: int
    reference_rows: int
    rows_timed: int
    rows_exact: int
    peers: dict[str, tuple[float, Accuracy]]
    cores: int
    load_before: float


def bench_reasons(
    settings: Settings, out: Path, *, world: Mapping[str, Any] = WORLD, timed: int = 500, exact: int = 50
) -> ReasonsBench:
    """Measure, and write `out`/reasons.json.

    Args:
        settings: whose use case has a simulator and published features.
        world: knobs of the simulated world.
        timed: how many rows are explained, those with the highest scores of events that were not learned from.
        exact: how many of them are compared with exact values, evenly over their scores.
    """
    load_before = os.getloadavg()[0]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".tmp-reasons-") as scratch:
        trees = train_trees(settings, Path(scratch), world=world)
        keys = Path(scratch) / "keys"
        trees.write(Path(scratch) / "bundle", keys=keys)
        bundle = open_bundle(Path(scratch) / "bundle", public_key=keys / PUBLIC_KEY)
        model, unseen = open_model(bundle), trees.rows
    rows = unseen[np.argsort(-model(unseen), kind="stable")[:timed]]
    codes = ReasonCodes(bundle, model)
    took = _milliseconds(codes, rows)
    some = rows[np.linspace(0, len(rows) - 1, min(exact, len(rows))).astype(np.int64)]
    reference = codes.explainer.reference
    truth = Explainer(model, reference, budget=2 ** some.shape[1] * len(reference))
    wanted = np.array([truth.contributions(row) for row in some])
    counted = _Counted(model)
    explain = Explainer(counted, reference)
    counted.scores = 0
    found = np.array([explain.contributions(row) for row in some])
    result = ReasonsBench(
        p50_ms=round(float(np.percentile(took, 50)), 3),
        p99_ms=round(float(np.percentile(took, 99)), 3),
        scores_a_row=round(counted.scores / len(some), 1),
        accuracy=_accuracy(found, wanted),
        features=rows.shape[1],
        trees=TREES,
        reference_rows=len(reference),
        rows_timed=len(rows),
        rows_exact=len(some),
        peers=_peers(model, reference, some, wanted) if find_spec("shap") else {},
        cores=os.cpu_count() or 1,
        load_before=round(load_before, 2),
    )
    write_json(out / "reasons.json", result)
    return result


class _Counted:
    """A model that counts how many scores it was asked for."""

    def __init__(self, model: Model) -> None:
        self._model, self.scores = model, 0

    def __call__(self, features: Floats) -> Floats:
        self.scores += len(features)
        return self._model(features)


def _milliseconds(explain: Callable[[Floats], object], rows: Floats) -> NDArray[np.float64]:
    """Of each row, once all rows have been explained before: a server explains more than one."""
    for row in rows:
        explain(row)
    took = []
    for row in rows:
        started = time.perf_counter()
        explain(row)
        took.append(1000 * (time.perf_counter() - started))
    return np.array(took)


def _accuracy(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> Accuracy:
    error = np.abs(found - wanted)
    direction = np.where(wanted.sum(axis=1) >= 0, 1, -1)[:, None]
    theirs, ours = (np.argsort(-direction * each, axis=1, kind="stable")[:, :3] for each in (wanted, found))
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(theirs.tolist(), ours.tolist(), strict=True)]
    return Accuracy(
        error=round(float(error.max(axis=1).mean()), 5),
        worst_error=round(float(error.max()), 5),
        error_share=round(float((error.sum(axis=1) / np.abs(wanted).sum(axis=1)).mean()), 4),
        top1_equal=round(float((theirs[:, 0] == ours[:, 0]).mean()), 3),
        top3_equal=round(float(np.mean(shared)), 3),
    )


def _peers(
    model: Model, reference: Floats, rows: Floats, wanted: NDArray[np.float64]
) -> dict[str, tuple[float, Accuracy]]:
    shap = importlib.import_module("shap")

    def score(features: NDArray[Any]) -> Floats:
        return model(features.astype(np.float32))

    kernel = shap.KernelExplainer(score, reference)
    permutation = shap.explainers.Permutation(score, shap.maskers.Independent(reference), seed=0)
    each = BUDGET // len(reference)  # both score every coalition with every reference row
    # A permutation there and back takes 2 f + 1 coalitions, and at least one is walked.
    peers: dict[str, Callable[[Floats], NDArray[np.float64]]] = {
        "shap.KernelExplainer": lambda row: kernel.shap_values(row, nsamples=each, silent=True),
        "shap.PermutationExplainer": lambda row: permutation(
            row[None], max_evals=max(each, 2 * len(row) + 1), silent=True
        ).values[0],
    }
    return {
        name: (
            round(float(np.median(_milliseconds(explain, rows))), 3),
            _accuracy(np.array([explain(row) for row in rows]), wanted),
        )
        for name, explain in peers.items()
    }
