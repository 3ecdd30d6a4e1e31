"""The fraud of the demo with the two candidates that are trained soonest: enough to run them side by side."""

from __future__ import annotations

from pathlib import Path

import msgspec

from usecases.fraud import USE_CASE as FRAUD

__all__ = ["TWO_CANDIDATES", "USE_CASE"]

USE_CASE = msgspec.structs.replace(
    FRAUD,
    candidates=tuple(
        msgspec.structs.replace(FRAUD.candidate(name), effort="quick")
        for name in ("watchful-trees", "logistic-regression")
    ),
)

# What makes a process use it, wherever it runs; with one thread, as the command line's workers have.
TWO_CANDIDATES = {
    "MLOPS_USECASE": "tests.e2e.two_candidates",
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
