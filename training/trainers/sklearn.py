"""scikit-learn classifiers and regressors, exported as ONNX graphs that decide as they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor

from mlops.errors import ConfigError
from mlops.schema import Task
from training.examples import Examples
from training.onnx_graph import serving_graph
from training.trainers import Fitted, Floats, Place
from training.trainers.sklearn_onnx import export

__all__ = ["fit"]


class _Classifier:
    def __init__(self, model: Any, n_features: int) -> None:
        self._model, self._n_features = model, n_features

    def predict(self, features: Floats) -> Floats:
        probability: Floats = self._model.predict_proba(features)[:, 1].astype(np.float32)
        return probability

    def export(self) -> bytes:
        graph = export(self._model, self._n_features, classifier=True)
        return serving_graph(graph, output="probabilities", column=1)


class _Regressor:
    def __init__(self, model: Any, n_features: int) -> None:
        self._model, self._n_features = model, n_features

    def predict(self, features: Floats) -> Floats:
        quantity: Floats = self._model.predict(features).astype(np.float32).reshape(-1)
        return quantity

    def export(self) -> bytes:
        return serving_graph(export(self._model, self._n_features, classifier=False))


def fit(
    builder: Callable[..., Any],
    params: Mapping[str, Any],
    examples: Examples,
    *,
    task: Task,
    seed: int,
    place: Place,
) -> Fitted:
    """Fit a classifier with `predict_proba`, or a regressor; it sees float32, as the ONNX graph will.

    Raises:
        ConfigError: the builder made what is not for this task.
    """
    model = builder(seed=seed, n_features=examples.n_features, **params)
    if not (is_classifier(model) if task == "classification" else is_regressor(model)):
        raise ConfigError(
            f"makes {type(model).__name__}, and the label asks for {task}",
            where=getattr(builder, "__qualname__", "builder"),
            todo="build another, or declare another label",
        )
    model.fit(*examples.arrays())
    fitted = _Classifier if task == "classification" else _Regressor
    return fitted(model, examples.n_features)
