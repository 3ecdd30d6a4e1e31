"""Models for any table of features, to be named by a use case that has none of its own.

Each is a builder as `mlops.contract.Candidate` describes it, and is exported with all that it does to the features. The
trees read them as they are: behind a scaler, numbers in single precision would cross their thresholds.

`balanced` weighs both classes alike. That may rank better where one is rare; the scores are then no probabilities,
unless the candidate is calibrated.
"""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = [
    "boosted_classifier",
    "boosted_regressor",
    "logistic_regression",
    "random_forest",
    "ridge_regression",
    "xgboost_classifier",
]


def logistic_regression(*, seed: int, n_features: int, c: float = 1.0, balanced: bool = False) -> Any:
    """A logistic regression on standardised features; the smaller `c`, the smaller its coefficients."""
    regression = LogisticRegression(C=c, max_iter=1_000, class_weight=_weights(balanced), random_state=seed)
    return make_pipeline(StandardScaler(), regression)


def ridge_regression(*, seed: int, n_features: int, alpha: float = 1.0) -> Any:
    """A linear regression on standardised features; the larger `alpha`, the smaller its coefficients."""
    return make_pipeline(StandardScaler(), Ridge(alpha=alpha, random_state=seed))


def random_forest(
    *,
    seed: int,
    n_features: int,
    trees: int = 100,
    min_samples_leaf: int = 1,
    max_features: float = 0.3,
    min_gain: float = 0.0,
    balanced: bool = False,
) -> Any:
    """A random forest of classes whose trees look for each split among a share of the features.

    Args:
        min_gain: by how much a split must lower the Gini impurity, weighted by its share of the events.
    """
    return RandomForestClassifier(
        trees,
        min_samples_leaf=min_samples_leaf,
        max_features=max_features,
        min_impurity_decrease=min_gain,
        class_weight="balanced_subsample" if balanced else None,
        random_state=seed,
    )


def boosted_classifier(
    *,
    seed: int,
    n_features: int,
    trees: int = 100,
    learning_rate: float = 0.1,
    min_samples_leaf: int = 20,
    leaves: int = 31,
    max_features: float = 1.0,
    l2: float = 0.0,
    balanced: bool = False,
) -> Any:
    """Gradient-boosted trees on binned features, of classes."""
    return HistGradientBoostingClassifier(
        max_iter=trees,
        learning_rate=learning_rate,
        min_samples_leaf=min_samples_leaf,
        max_leaf_nodes=leaves,
        max_features=max_features,
        l2_regularization=l2,
        class_weight=_weights(balanced),
        early_stopping=False,
        random_state=seed,
    )


def boosted_regressor(
    *, seed: int, n_features: int, trees: int = 100, learning_rate: float = 0.1, min_samples_leaf: int = 20
) -> Any:
    """Gradient-boosted trees on binned features, of quantities."""
    return HistGradientBoostingRegressor(
        max_iter=trees,
        learning_rate=learning_rate,
        min_samples_leaf=min_samples_leaf,
        early_stopping=False,
        random_state=seed,
    )


def xgboost_classifier(
    *,
    seed: int,
    n_features: int,
    trees: int = 100,
    depth: int = 6,
    learning_rate: float = 0.3,
    min_child_weight: float = 1.0,
    colsample: float = 1.0,
    l2: float = 1.0,
) -> Any:
    """XGBoost's trees, of classes, with exact splits; needs the optional package."""
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=trees,
        max_depth=depth,
        learning_rate=learning_rate,
        min_child_weight=min_child_weight,
        colsample_bytree=colsample,
        reg_lambda=l2,
        tree_method="exact",  # its defaults since version 2 do not reach what was published with it
        base_score=0.5,
        n_jobs=1,
        random_state=seed,
    )


def _weights(balanced: bool) -> str | None:
    return "balanced" if balanced else None
