"""The fraud use case with one small candidate: what the handbook's bench does with the others is the same."""

from __future__ import annotations

import msgspec

from mlops.contract import Candidate
from mlops.search import Int
from usecases.fraud import USE_CASE as FRAUD

__all__ = ["USE_CASE"]

USE_CASE = msgspec.structs.replace(
    FRAUD,
    candidates=(
        Candidate(
            name="small-trees",
            framework="scikit-learn",
            builder="training.builders:boosted_classifier",
            params={"trees": 30},
            search={"trees": Int(10, 60)},
            features=FRAUD.candidates[0].features,
        ),
    ),
)
