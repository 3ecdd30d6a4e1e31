"""What is exported from scikit-learn decides as the original does, also where a rounding would show."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skl2onnx import to_onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from mlops.errors import ParityError
from mlops.model import Floats, Model
from training.onnx_graph import serving_graph
from training.parity import Parity, compare, fresh_sample
from training.trainers.sklearn_onnx import export, round_down

ROWS = 1_500


@functools.cache
def table() -> tuple[Floats, np.ndarray, np.ndarray]:
    """Amounts with decimals, counts and flags; labels, and quantities far from nothing."""
    rng = np.random.default_rng(0)
    amounts = np.round(rng.lognormal(4, 1, (ROWS, 3)), 2)
    features = np.column_stack([amounts, rng.integers(0, 60, ROWS), rng.random(ROWS) < 0.3]).astype(
        np.float32
    )
    told = np.log(features[:, 0]) - 4 + features[:, 3] / 30 + features[:, 4]
    labels = (rng.random(ROWS) < 1 / (1 + np.exp(2 - told))).astype(np.int8)
    return features, labels, 1_000 + 50 * told + rng.normal(size=ROWS)


def found(model: Any, *, classifier: bool) -> Parity:
    """Fit, export, and compare over 10,000 rows that look for differences."""
    features, labels, quantities = table()
    model.fit(features, labels if classifier else quantities)
    graph = graph_of(model, classifier=classifier)

    def predict(rows: Floats) -> Floats:
        scores = model.predict_proba(rows)[:, 1] if classifier else model.predict(rows)
        return np.asarray(scores, np.float32)

    sample = fresh_sample(features, 10_000, seed=0, graph=graph, thresholds=(0.3,))
    return compare(predict, graph, sample, scale=1 if classifier else 1_000)


def graph_of(model: Any, *, classifier: bool) -> bytes:
    exported = export(model, 5, classifier=classifier)
    return (
        serving_graph(exported, output="probabilities", column=1) if classifier else serving_graph(exported)
    )


def thresholds(model: Any) -> np.ndarray:
    return np.concatenate([tree.nodes["num_threshold"] for (tree,) in model._predictors])


boosted = functools.partial(HistGradientBoostingClassifier, max_iter=40, min_samples_leaf=5)
boosted_regressor = functools.partial(HistGradientBoostingRegressor, max_iter=40, min_samples_leaf=5)
forest = functools.partial(RandomForestClassifier, 30, random_state=0)
logistic = functools.partial(make_pipeline, StandardScaler(), LogisticRegression())


@pytest.mark.parametrize(
    "model",
    [
        boosted(),
        boosted(class_weight="balanced", max_iter=200, max_leaf_nodes=None, learning_rate=0.02),
        forest(class_weight="balanced_subsample"),
        ExtraTreesClassifier(30, random_state=0),
        GradientBoostingClassifier(n_estimators=30),
        logistic(),
        CalibratedClassifierCV(boosted(), cv=2),
        CalibratedClassifierCV(forest(), cv=2, method="isotonic"),
        VotingClassifier([("boosted", boosted()), ("linear", logistic())], voting="soft"),
        VotingClassifier([("boosted", boosted()), ("trees", forest())], voting="soft", weights=[3, 0.005]),
        BaggingClassifier(boosted(), 4, random_state=0),
        BaggingClassifier(DecisionTreeClassifier(), 20, max_features=0.5, random_state=0),
        StackingClassifier([("boosted", boosted()), ("trees", forest())], cv=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_classifier_says_the_same_as_its_graph_on_the_rows_that_tell_most(model: Any) -> None:
    assert found(model, classifier=True).max_abs_diff < 3e-6


@pytest.mark.parametrize(
    "model",
    [
        boosted_regressor(),
        RandomForestRegressor(50, random_state=0),
        ExtraTreesRegressor(50, random_state=0),
        BaggingRegressor(boosted_regressor(), 4, random_state=0),
        VotingRegressor([("boosted", boosted_regressor()), ("trees", RandomForestRegressor(20))]),
        VotingRegressor([("boosted", boosted_regressor()), ("linear", Ridge())], weights=[2, 1]),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_regressor_says_the_same_as_its_graph_on_the_rows_that_tell_most(model: Any) -> None:
    assert found(model, classifier=False).max_abs_diff < 3e-6


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_mean=False, with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False),
        MaxAbsScaler(clip=True),
        MinMaxScaler((-1, 2), clip=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("trees", [boosted(), forest()], ids=["boosted", "forest"])
def test_trees_behind_a_scaler_see_in_the_graph_what_they_saw_in_training(scaler: Any, trees: Any) -> None:
    assert found(make_pipeline(scaler, trees), classifier=True).max_abs_diff < 3e-6


def test_thresholds_rounded_to_the_nearest_are_found_out() -> None:
    features, labels, _ = table()
    model = boosted().fit(features, labels)
    rounded = to_onnx(model, features[:1], options={id(model): {"zipmap": False}})
    graph = serving_graph(rounded.SerializeToString(), output="probabilities", column=1)
    sample = fresh_sample(features, 10_000, seed=0, graph=graph)
    assert (
        compare(lambda x: model.predict_proba(x)[:, 1].astype(np.float32), graph, sample).max_abs_diff > 1e-3
    )


def test_a_transformation_that_the_graph_rounds_otherwise_is_found_out() -> None:
    assert found(make_pipeline(PowerTransformer(), boosted()), classifier=True).max_abs_diff > 1e-5


def test_what_trees_do_with_missing_values_is_in_the_graph() -> None:
    features, labels, _ = table()
    holes = np.where(np.random.default_rng(1).random(features.shape) < 0.2, np.float32(np.nan), features)
    model = boosted().fit(holes, labels)
    graph = graph_of(model, classifier=True)
    assert Model(graph)(holes) == pytest.approx(model.predict_proba(holes)[:, 1], abs=1e-6)


def test_exporting_leaves_the_model_as_it_was() -> None:
    features, labels, _ = table()
    model = boosted().fit(features, labels)
    before = thresholds(model)
    export(model, 5, classifier=True)
    assert (thresholds(model) == before).all()
    assert (round_down(before) != before).any()


def test_splits_by_category_are_refused_with_what_to_do() -> None:
    features, labels, _ = table()
    model = make_pipeline(PolynomialFeatures(1), boosted(categorical_features=[4])).fit(features, labels)
    with pytest.raises(ParityError, match=r"by category.*OneHot"):
        export(model, 5, classifier=True)


def test_what_skl2onnx_does_not_know_is_refused_by_name() -> None:
    class Unknown(GaussianProcessClassifier):
        """No converter is registered for it."""

    features, labels, _ = table()
    with pytest.raises(ParityError, match="Unknown"):
        export(Unknown(optimizer=None).fit(features[:50], labels[:50]), 5, classifier=True)


singles = st.floats(width=32, allow_nan=False)


@settings(max_examples=500)
@given(x=singles, threshold=st.floats(allow_nan=False), steps=st.integers(-2, 2))
def test_a_threshold_rounded_down_decides_alike_for_every_float32(
    x: float, threshold: float, steps: int
) -> None:
    (rounded,) = round_down(np.array([threshold])).astype(np.float32)
    assert float(rounded) <= threshold
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
        for _ in range(abs(steps)):
            near = np.nextafter(near, np.float32(np.sign(steps) * np.inf))
    for value in (np.float32(x), near):
        assert (np.float64(value) <= threshold) == (value <= rounded)
