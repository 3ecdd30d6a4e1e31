"""A bundle made ready to score: its model in ONNX Runtime, its checks, its features and its thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlops.bundle import Bundle
from mlops.errors import BundleError, InputError
from mlops.model import Floats, open_model
from mlops.reasons import ReasonCodes
from serving.events import EventReader
from serving.features import OnlineFeatures
from serving.plan import StorePlan

__all__ = ["Scorer"]

_WARM_UP_RUNS = 20
_LARGEST = float(np.finfo(np.float32).max)


class Scorer:
    """What answers requests: one bundle under one registry version.

    Raises:
        BundleError: the model does not load, does not take these features, or gives other scores than the golden
            ones.
    """

    def __init__(self, bundle: Bundle, version: str, plan: StorePlan) -> None:
        self.bundle = bundle
        self.version = version
        self.features = OnlineFeatures(bundle.features, bundle.schema, plan)
        self.reader = EventReader(bundle.schema)
        self._model = open_model(bundle)
        self.reasons = ReasonCodes(bundle, self._model)
        golden = np.array(bundle.golden.features[:1], np.float32)
        for _ in range(_WARM_UP_RUNS):
            self._model(golden)

    def decide(self, score: float) -> str | None:
        """What the bundle's thresholds make of a score; None if it has none."""
        decisions = self.bundle.decisions
        return None if decisions is None else decisions.decide(score)

    def score(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """The scores of rows of features [n, f].

        Raises:
            InputError: a feature is beyond single precision, which the model reads.
            BundleError: the model gave a score that is no number.
        """
        for row in rows:
            if not (min(row) >= -_LARGEST and max(row) <= _LARGEST and (total := sum(row)) == total):
                place = next(n for n, value in enumerate(row) if not -_LARGEST <= value <= _LARGEST)
                raise InputError("is beyond single precision", where=self.features.names[place])
        scores: list[float] = self._model(np.array(rows, np.float32)).tolist()
        if not all(map(math.isfinite, scores)):
            raise BundleError("the model gave a score that is not a number", where=self.bundle.path)
        return scores

    def score_array(self, features: Floats) -> Floats:
        """The scores [n] of features float32 [n, f]: the same for who has them in an array.

        Raises:
            InputError: a feature is no finite number.
            BundleError: the model gave a score that is no number.
        """
        finite = np.isfinite(features)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise InputError(
                "is not a finite number in single precision", where=f"[{row}].{self.features.names[column]}"
            )
        scores = self._model(features)
        if not np.isfinite(scores).all():
            raise BundleError("the model gave a score that is not a number", where=self.bundle.path)
        return scores
