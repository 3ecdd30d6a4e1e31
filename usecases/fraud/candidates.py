"""The models that compete, the parameters that they start from, and what tuning may try around them.

Features and parameters of the watchful trees were compared by average precision on the published validation folds of
three simulated worlds (seeds 11 to 13), some on two of the four folds. The others start from usual values, which
tuning has to better.
"""

from __future__ import annotations

from mlops.contract import Candidate
from mlops.search import Choice, Float, Int, Space
from usecases.fraud.features import COMPACT, FEATURES, LAST_PAYMENTS, OURS

__all__ = ["CANDIDATES"]

_NETWORK: dict[str, Space] = {
    "hidden": Int(32, 128, log=True),
    "dropout": Float(0.1, 0.5),
    "learning_rate": Float(5e-4, 5e-3, log=True),
}
_BOOSTING: dict[str, Space] = {
    "trees": Int(50, 400, log=True),
    "learning_rate": Float(0.01, 0.2, log=True),
    "leaves": Int(4, 31, log=True),
    "min_samples_leaf": Int(5, 100, log=True),
    "max_features": Float(0.1, 1.0),
    "l2": Float(0.1, 50.0, log=True),
}
_FOREST: dict[str, Space] = {
    "min_samples_leaf": Int(1, 20, log=True),
    "max_features": Float(0.2, 1.0),
    "min_gain": Float(5e-7, 1e-5, log=True),
}

CANDIDATES = (
    Candidate(
        name="watchful-trees",
        framework="scikit-learn",
        builder="usecases.fraud.models:watchful_trees",
        params={
            "silence": COMPACT.names.index("terminal_id_genuine_seen_28d"),
            "trees": 100,
            "min_samples_leaf": 5,
            "max_features": 1.0,
            "min_gain": 2e-6,
            "weight": 0.005,
        },
        search=_FOREST | {"weight": Float(0.002, 0.02, log=True)},
        features=COMPACT,
    ),
    Candidate(
        name="mlp-torch",
        framework="pytorch",
        builder="usecases.fraud.models:mlp_torch",
        params={"hidden": 64, "dropout": 0.3, "learning_rate": 2e-3},
        search=_NETWORK,
        features=COMPACT,
    ),
    Candidate(
        name="mlp-keras",
        framework="tensorflow",
        builder="usecases.fraud.models:mlp_keras",
        params={"hidden": 64, "dropout": 0.3, "learning_rate": 2e-3},
        search=_NETWORK,
        features=COMPACT,
    ),
    Candidate(
        name="logistic-regression",
        framework="scikit-learn",
        builder="training.builders:logistic_regression",
        params={"c": 1.0},
        search={"c": Float(1e-3, 100.0, log=True)},
        features=COMPACT,
        effort="standard",
    ),
    Candidate(
        name="random-forest",
        framework="scikit-learn",
        builder="training.builders:random_forest",
        params={"trees": 100, "min_samples_leaf": 3, "max_features": 0.3, "min_gain": 1e-6},
        search=_FOREST,
        features=COMPACT,
        effort="standard",
    ),
    Candidate(
        name="balanced-forest",
        framework="scikit-learn",
        builder="training.builders:random_forest",
        params={"trees": 100, "min_samples_leaf": 3, "max_features": 0.3, "balanced": True},
        search={"min_samples_leaf": Int(1, 20, log=True), "max_features": Float(0.2, 1.0)},
        features=COMPACT,
        effort="standard",
        calibration="sigmoid",
    ),
    Candidate(
        name="gradient-boosting",
        framework="scikit-learn",
        builder="training.builders:boosted_classifier",
        params={
            "trees": 200,
            "learning_rate": 0.03,
            "leaves": 8,
            "min_samples_leaf": 20,
            "max_features": 0.3,
            "l2": 10.0,
        },
        search=_BOOSTING,
        features=OURS,
        effort="standard",
    ),
    Candidate(
        name="balanced-boosting",
        framework="scikit-learn",
        builder="training.builders:boosted_classifier",
        params={
            "trees": 200,
            "learning_rate": 0.03,
            "leaves": 8,
            "min_samples_leaf": 20,
            "max_features": 0.3,
            "l2": 10.0,
            "balanced": True,
        },
        search=_BOOSTING,
        features=OURS,
        effort="standard",
        calibration="sigmoid",
    ),
    Candidate(
        name="gru-torch",
        framework="pytorch",
        builder="usecases.fraud.models:gru_torch",
        params={"n": LAST_PAYMENTS, "fields": 2, "recurrent": 32, "hidden": 64, "dropout": 0.3},
        search={"recurrent": Choice((16, 32, 64)), "dropout": Float(0.1, 0.5)},
        features=FEATURES,
        effort="standard",
    ),
    Candidate(
        name="xgboost",
        framework="xgboost",
        builder="training.builders:xgboost_classifier",
        params={
            "trees": 100,
            "depth": 4,
            "learning_rate": 0.05,
            "min_child_weight": 1.0,
            "colsample": 0.3,
            "l2": 1.0,
        },
        search={
            "trees": Int(50, 400, log=True),
            "depth": Int(2, 9),
            "learning_rate": Float(0.02, 0.3, log=True),
            "min_child_weight": Float(0.1, 10.0, log=True),
            "colsample": Choice((0.2, 0.3, 0.5, 1.0)),
            "l2": Float(0.1, 30.0, log=True),
        },
        features=OURS,
        effort="full",
    ),
)
