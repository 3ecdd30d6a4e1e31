"""What serving a bundle takes: time for a row, and space."""

from __future__ import annotations

import time

import numpy as np

from mlops.bundle import Bundle
from mlops.model import Model
from training.checks import Check, at_most
from training.evidence import Evidence

__all__ = ["latency", "size"]

_ROUNDS, _CALLS = 5, 200
_ENOUGH_S = 1.0  # a slow model is measured in fewer rounds, though in no fewer than two


def latency(evidence: Evidence) -> list[Check]:
    """The 99th percentile of scoring one row, as serving does it, on this machine."""
    limit, (found, rounds) = evidence.gate.max_latency_ms, _latency_ms(evidence.bundle)
    fact = f"one row takes {found:.3g} ms (99th percentile, the best of {rounds} rounds)"
    return [at_most("latency", found, limit, fact, f"at most {limit:g} ms")]


def size(evidence: Evidence) -> list[Check]:
    """What the files of the bundle take together."""
    limit = evidence.gate.max_bundle_mb
    found = sum(file.stat().st_size for file in evidence.bundle.path.rglob("*") if file.is_file()) / 1e6
    fact = f"the bundle takes {found:.3g} MB"
    return [at_most("size", found, limit, fact, f"at most {limit:g} MB")]


def _latency_ms(bundle: Bundle) -> tuple[float, int]:
    """The best of several rounds, and of how many: what else runs here slows some of them, and speeds up none."""
    model, held = Model(bundle.model), np.array(bundle.golden.features, np.float32)
    rows = [held[i % len(held)][None] for i in range(_CALLS)]
    for row in rows[:20]:
        model(row)
    best, begun = np.inf, time.perf_counter()
    rounds = 0
    while rounds < _ROUNDS and (rounds < 2 or time.perf_counter() - begun <= _ENOUGH_S):
        taken = []
        for row in rows:
            start = time.perf_counter_ns()
            model(row)
            taken.append(time.perf_counter_ns() - start)
        best = min(best, float(np.quantile(taken, 0.99)) / 1e6)
        rounds += 1
    return best, rounds
