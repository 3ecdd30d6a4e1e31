"""Every framework fits quantities in their own unit, and its graph says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlops.contract import load_dotted
from mlops.errors import ConfigError
from mlops.regression import rmse
from training.examples import ArrayExamples
from training.parity import compare, fresh_sample
from training.tasks.regression import TASK
from training.trainers import Place, trainer_for

RNG = np.random.default_rng(0)
X = RNG.normal(5, 2, (600, 4)).astype(np.float32)
Y = 50_000 + 1_000 * X[:, 0] - 500 * X[:, 1] ** 2 + RNG.normal(0, 100, 600)


def mlp_torch(*, seed: int, n_features: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.BatchNorm1d(n_features), nn.Linear(n_features, 32), nn.ReLU(), nn.Linear(32, 1))


def mlp_keras(*, seed: int, n_features: int) -> Any:
    import keras
    from keras import layers

    inputs = keras.Input((n_features,), name="features")
    x = layers.Dense(32, activation="relu")(layers.Normalization()(inputs))
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(optimizer="adam", loss="mse")
    return model


SILENT = Place(log=lambda *entry: None)


@pytest.mark.parametrize(
    ("framework", "builder", "params"),
    [
        ("scikit-learn", "training.builders:ridge_regression", {}),
        ("scikit-learn", "training.builders:boosted_regressor", {}),
        ("pytorch", f"{__name__}:mlp_torch", {"epochs": 40, "learning_rate": 1e-2}),
        ("tensorflow", f"{__name__}:mlp_keras", {"epochs": 40, "learning_rate": 1e-2}),
    ],
)
def test_quantities_are_predicted_in_their_unit_and_exported(
    framework: str, builder: str, params: dict[str, Any]
) -> None:
    fitted = trainer_for(framework)(
        load_dotted(builder), params, ArrayExamples(X[:400], Y[:400]), task="regression", seed=0, place=SILENT
    )
    found = fitted.predict(X[400:])
    assert found.shape == (200,) and found.dtype == np.float32
    assert rmse(Y[400:], found) < 0.4 * Y[400:].std()
    parity = compare(
        fitted.predict, fitted.export(), fresh_sample(X[400:], 2_000, seed=0), scale=TASK.scale(Y[:400])
    )
    assert parity.max_abs_diff <= 1e-5


@pytest.mark.parametrize("builder", ["logistic_regression", "boosted_classifier"])
def test_the_builders_of_classifiers_are_exported_as_they_are(builder: str) -> None:
    labels = (Y[:400] > Y.mean()).astype(np.int8)
    fitted = trainer_for("scikit-learn")(
        load_dotted(f"training.builders:{builder}"),
        {},
        ArrayExamples(X[:400], labels),
        task="classification",
        seed=0,
        place=SILENT,
    )
    parity = compare(fitted.predict, fitted.export(), fresh_sample(X[400:], 2_000, seed=0))
    assert parity.max_abs_diff <= 1e-5


@pytest.mark.parametrize(
    ("builder", "task"),
    [("boosted_classifier", "regression"), ("boosted_regressor", "classification")],
)
def test_a_model_of_the_other_task_is_refused(builder: str, task: Any) -> None:
    with pytest.raises(ConfigError, match=f"the label asks for {task}"):
        trainer_for("scikit-learn")(
            load_dotted(f"training.builders:{builder}"),
            {},
            ArrayExamples(X, Y),
            task=task,
            seed=0,
            place=SILENT,
        )
