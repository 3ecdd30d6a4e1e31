"""The XGBoost trainer: what it fits can be served, and what it cannot is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from xgboost import XGBClassifier, XGBRegressor

from mlops.errors import ConfigError, ParityError
from mlops.model import Model
from mlops.schema import Task
from training.builders import xgboost_classifier
from training.examples import ArrayExamples
from training.trainers import Place, trainer_for

PLACE = Place(log=lambda *_: None)


def regressor(*, seed: int, n_features: int) -> Any:
    return XGBRegressor(n_estimators=30, random_state=seed)


def linear(*, seed: int, n_features: int) -> Any:
    return XGBClassifier(n_estimators=5, booster="gblinear", updater="coord_descent", random_state=seed)


def examples(task: Task = "classification", rows: int = 2_000) -> ArrayExamples:
    rng = np.random.default_rng(0)
    features = rng.lognormal(size=(rows, 4)).astype(np.float32)
    features[:, 1] = np.round(features[:, 1])  # many equal values, so that thresholds lie among them
    risk = features[:, 0] + features[:, 1] * rng.random(rows)
    return ArrayExamples(features, risk if task == "regression" else (risk > 4).astype(np.int8))


@pytest.mark.parametrize(
    ("task", "builder"), [("classification", xgboost_classifier), ("regression", regressor)]
)
def test_the_graph_scores_as_the_model_does_also_at_its_thresholds(task: Task, builder: Any) -> None:
    held = examples(task)
    fitted = trainer_for("xgboost")(builder, {}, held, task=task, seed=0, place=PLACE)
    features = held.arrays()[0]
    near = np.concatenate([features, np.nextafter(features, np.float32(np.inf))])
    assert np.abs(Model(fitted.export())(near) - fitted.predict(near)).max() < 1e-5


def test_one_seed_gives_one_model() -> None:
    one, same = (
        trainer_for("xgboost")(
            xgboost_classifier, {"colsample": 0.5}, examples(), task="classification", seed=3, place=PLACE
        )
        for _ in range(2)
    )
    features = examples().arrays()[0]
    assert (one.predict(features) == same.predict(features)).all()


def test_a_model_for_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="makes XGBRegressor"):
        trainer_for("xgboost")(regressor, {}, examples(), task="classification", seed=0, place=PLACE)


def test_a_booster_that_cannot_be_written_as_onnx_is_refused_with_the_way_out() -> None:
    fitted = trainer_for("xgboost")(linear, {}, examples(), task="classification", seed=0, place=PLACE)
    with pytest.raises(ParityError, match="cannot write booster gblinear"):
        fitted.export()
