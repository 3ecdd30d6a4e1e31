"""scikit-learn classifiers, exported by skl2onnx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx

from training.onnx_graph import serving_graph
from training.trainers import Fitted, Floats, Log

__all__ = ["fit"]


class _Fitted:
    def __init__(self, model: Any, n_features: int) -> None:
        self._model, self._n_features = model, n_features

    def predict(self, features: Floats) -> Floats:
        probability: Floats = self._model.predict_proba(features)[:, 1].astype(np.float32)
        return probability

    def export(self) -> bytes:
        # zipmap would turn the array of probabilities into a list of dictionaries.
        graph = to_onnx(
            self._model,
            np.zeros((1, self._n_features), np.float32),
            options={id(self._model): {"zipmap": False}},
        )
        return serving_graph(graph.SerializeToString(), output="probabilities", column=1)


def fit(
    builder: Callable[..., Any],
    params: Mapping[str, Any],
    features: Floats,
    labels: NDArray[np.int8],
    *,
    seed: int,
    log: Log,
) -> Fitted:
    """Fit a classifier with `predict_proba`; it sees float32, as the ONNX graph will."""
    model = builder(seed=seed, n_features=features.shape[1], **params)
    model.fit(features, labels)
    return _Fitted(model, features.shape[1])
