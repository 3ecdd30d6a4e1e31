"""The fraud of the demo with the one candidate that needs no framework of networks, which take longest to load."""

from __future__ import annotations

from pathlib import Path

import msgspec

from usecases.fraud import USE_CASE as FRAUD

__all__ = ["TREES_ALONE", "USE_CASE"]

USE_CASE = msgspec.structs.replace(FRAUD, candidates=(FRAUD.candidate("watchful-trees"),))

# What makes a command use it, wherever it runs.
TREES_ALONE = {
    "MLOPS_USECASE": "tests.e2e.trees_alone",
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
}
