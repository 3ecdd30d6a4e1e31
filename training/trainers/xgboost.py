"""XGBoost classifiers and regressors through its scikit-learn interface, exported by onnxmltools; an optional extra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx.helper import make_opsetid

from mlops.errors import ConfigError, ParityError, SetupError
from mlops.schema import Task
from training.examples import Examples
from training.onnx_graph import serving_graph
from training.trainers import Builder, Fitted, Floats, Place

try:
    from onnxmltools.convert import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier, XGBRegressor
except ModuleNotFoundError as error:
    raise SetupError(
        f"{error.name} is not installed", where="framework xgboost", todo="pip install -e '.[xgboost]'"
    ) from None

__all__ = ["fit"]

_OPSET = 15  # the newest that onnxmltools converts to


class _Fitted:
    def __init__(self, model: XGBClassifier | XGBRegressor, n_features: int) -> None:
        self._model, self._n_features = model, n_features
        self._classifies = isinstance(model, XGBClassifier)

    def predict(self, features: Floats) -> Floats:
        # XGBoost takes a NaN for missing and every other number as it is, as the graph does.
        found = (
            self._model.predict_proba(features)[:, 1] if self._classifies else self._model.predict(features)
        )
        scores: Floats = np.asarray(found, np.float32)
        return scores

    def export(self) -> bytes:
        if self._model.booster not in (None, "gbtree"):
            raise ParityError(
                f"onnxmltools cannot write booster {self._model.booster} as ONNX",
                where=type(self._model).__name__,
                todo="use gbtree",
            )
        shape = [("features", FloatTensorType([None, self._n_features]))]
        graph = convert_xgboost(self._model, initial_types=shape, target_opset=_OPSET)
        if not any(one.domain == "" for one in graph.opset_import):
            graph.opset_import.append(make_opsetid("", _OPSET))  # of what is put behind the trees
        written: bytes = graph.SerializeToString()
        if self._classifies:
            return serving_graph(written, output="probabilities", column=1)
        return serving_graph(written)


def fit(
    builder: Builder, params: Mapping[str, Any], examples: Examples, *, task: Task, seed: int, place: Place
) -> Fitted:
    """Fit an `XGBClassifier` or `XGBRegressor`.

    Raises:
        ConfigError: the builder made what is not for this task.
    """
    model = builder(seed=seed, n_features=examples.n_features, **params)
    if not isinstance(model, XGBClassifier if task == "classification" else XGBRegressor):
        raise ConfigError(
            f"makes {type(model).__name__}, and the label asks for {task}",
            where=getattr(builder, "__qualname__", "builder"),
            todo="build another, or declare another label",
        )
    model.fit(*examples.arrays())
    return _Fitted(model, examples.n_features)
