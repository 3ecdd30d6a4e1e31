"""Models for any table of features, to be named by a use case that has none of its own.

Each is a builder as `mlops.contract.Candidate` describes it, and is exported with all that it does to the features. The
trees read them as they are: behind a scaler, numbers in single precision would cross their thresholds.
"""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["boosted_classifier", "boosted_regressor", "logistic_regression", "ridge_regression"]


def logistic_regression(*, seed: int, n_features: int, c: float = 1.0) -> Any:
    """A logistic regression on standardised features; the smaller `c`, the smaller its coefficients."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1_000, random_state=seed))


def ridge_regression(*, seed: int, n_features: int, alpha: float = 1.0) -> Any:
    """A linear regression on standardised features; the larger `alpha`, the smaller its coefficients."""
    return make_pipeline(StandardScaler(), Ridge(alpha=alpha, random_state=seed))


def boosted_classifier(
    *, seed: int, n_features: int, trees: int = 100, learning_rate: float = 0.1, min_samples_leaf: int = 20
) -> Any:
    """Gradient-boosted trees on binned features, of classes."""
    return HistGradientBoostingClassifier(
        max_iter=trees,
        learning_rate=learning_rate,
        min_samples_leaf=min_samples_leaf,
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
