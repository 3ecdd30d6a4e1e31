"""Machines that fail, once more: candidates whose parameters are tuned, one of them by a process that dies."""

from __future__ import annotations

import os
import signal
from typing import Any

import msgspec
from sklearn.tree import DecisionTreeClassifier

from mlops.contract import Candidate
from mlops.features import FeatureSet
from mlops.search import Choice, Int
from tests.training import example

__all__ = ["FIRST_DAY", "USE_CASE", "tree"]

FIRST_DAY = (
    "2018-05-24"  # of a table of 24 days: the last that leaves room for labels, and has four folds before it
)
_fits = 0


def tree(*, seed: int, n_features: int, depth: int = 3, leaf: int = 1) -> Any:
    """A decision tree; the process is killed at the fit that `DIE_AT_FIT` counts."""
    global _fits
    _fits += 1
    if _fits == int(os.environ.get("DIE_AT_FIT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=seed)


def _candidate(name: str, params: dict[str, Any], **more: Any) -> Candidate:
    builder = "tests.training.tuned:tree"
    return Candidate(name=name, framework="scikit-learn", builder=builder, params=params, **more)


_SEARCH = {"depth": Int(1, 16), "leaf": Int(1, 200, log=True)}
USE_CASE = msgspec.structs.replace(
    example.USE_CASE,
    name="tuned",
    candidates=(
        _candidate("stump", {"depth": 1, "leaf": 1}, search=_SEARCH),
        _candidate("ideal", {"leaf": 30}, search={"leaf": Choice((30, 5_000, 6_000, 7_000))}),
        _candidate("settled", {"depth": 4}),
        _candidate(
            "narrow",
            {"depth": 1, "leaf": 1},
            search=_SEARCH,
            features=FeatureSet(example.FEATURES.features[:1]),
        ),
    ),
)
