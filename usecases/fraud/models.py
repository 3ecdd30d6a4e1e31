"""The models of fraud alone, each as its framework's users would write it; others come from `training.builders`.

Each holds its own preprocessing, so that the exported graph takes the features as they are. Amounts and counts are
heavy-tailed: the networks read log(1 + x), standardised on the training rows; trees do not need it. A framework is
imported when its model is built.
"""

from __future__ import annotations

from typing import Any

__all__ = ["extra_trees", "gru_torch", "mlp_keras", "mlp_torch", "watchful_trees"]


def extra_trees(
    *,
    seed: int,
    n_features: int,
    trees: int = 100,
    min_samples_leaf: int = 5,
    max_features: float = 1.0,
    min_gain: float = 2e-6,
) -> Any:
    """Extremely randomised trees (Geurts, Ernst, Wehenkel, 2006), as a scikit-learn classifier.

    Args:
        min_gain: by how much a split must lower the Gini impurity, weighted by its share of the events. Without a
            limit most splits part a few genuine payments from others, at random: trees nine times as large that
            rank worse.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(
        trees,
        min_samples_leaf=min_samples_leaf,
        max_features=max_features,
        min_impurity_decrease=min_gain,
        random_state=seed,
    )


def watchful_trees(*, seed: int, n_features: int, silence: int, weight: float = 0.01, **trees: Any) -> Any:
    """`extra_trees`, and a little for how long nothing genuine is known of a terminal.

    A quarter to a third of the frauds at a terminal that turned bad have no known label before them, and payments
    with nothing else to tell them apart are most of all. The longer the silence, the likelier its end was a fraud; the
    trees have too few of these frauds in a week to learn it, a logistic regression of this one feature has enough.

    Args:
        silence: which feature that is, counted from 0.
        weight: of the regression, which weighs both classes alike, in the mean of both probabilities.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(
        ColumnTransformer([("silence", StandardScaler(), [silence])]),
        LogisticRegression(class_weight="balanced", random_state=seed),
    )
    return VotingClassifier(
        [("trees", extra_trees(seed=seed, n_features=n_features, **trees)), ("silence", regression)],
        voting="soft",
        weights=[1 - weight, weight],
    )


def mlp_torch(*, seed: int, n_features: int, hidden: int = 64, dropout: float = 0.3) -> Any:
    """Two hidden layers, as a PyTorch module that gives logits [n, 1]; `adapt` learns the standardisation."""
    from torch import nn

    from usecases.fraud.torch_layers import LogStandardise

    class Mlp(nn.Sequential):
        def adapt(self, blocks: Any) -> None:
            self[0].adapt(blocks)

    return Mlp(
        LogStandardise(n_features),
        nn.Linear(n_features, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


def gru_torch(
    *,
    seed: int,
    n_features: int,
    n: int = 8,
    fields: int = 2,
    recurrent: int = 32,
    hidden: int = 64,
    dropout: float = 0.3,
) -> Any:
    """A GRU over a card's last payments beside the other features, as a PyTorch module that gives logits [b, 1].

    The payments are the last `n` · `fields` features, as `mlops.features.Last` makes them: by field, and in each from
    the newest to the oldest, less than 0 where there is none.
    """
    from usecases.fraud.torch_layers import Recurrent

    return Recurrent(n_features, n=n, fields=fields, recurrent=recurrent, hidden=hidden, dropout=dropout)


def mlp_keras(*, seed: int, n_features: int, hidden: int = 64, dropout: float = 0.3) -> Any:
    """Two hidden layers, as a compiled Keras model that gives probabilities [n, 1]."""
    import keras
    from keras import layers

    inputs = keras.Input((n_features,), name="features")
    x = keras.ops.log(inputs + 1.0)  # tf2onnx does not know log1p
    x = layers.Normalization()(x)
    for _ in range(2):
        x = layers.Dense(hidden, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model
