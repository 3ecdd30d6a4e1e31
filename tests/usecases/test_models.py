"""The models of fraud: what is served scores as the fitted one does, and candidates are built as they are declared."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlops.contract import Candidate, load_dotted
from mlops.model import Model
from training.examples import ArrayExamples
from training.trainers import Place, trainer_for
from usecases.fraud import USE_CASE
from usecases.fraud.models import extra_trees, watchful_trees

PLACE = Place(log=lambda *_: None)


def examples(rows: int = 4_000) -> ArrayExamples:
    """Amounts, of which the large are frauds, and silences in seconds, of which a few more frauds end the long ones."""
    rng = np.random.default_rng(0)
    amount, silence = rng.uniform(0, 200, rows), rng.uniform(7, 35, rows) * 86_400
    fraud = (amount > 195) | (rng.random(rows) < silence / 86_400 * 1e-3)
    features = np.column_stack([amount, rng.random((rows, 8)), silence]).astype(np.float32)
    return ArrayExamples(features, fraud.astype(np.int8))


def test_silence_ranks_payments_that_have_nothing_else_to_tell_them_apart() -> None:
    learnt, unseen = examples(), examples(40_000)
    features, labels = unseen.arrays()
    small = features[:, 0] < 190
    areas = []
    for model in (
        extra_trees(seed=0, n_features=10),
        watchful_trees(seed=0, n_features=10, silence=9, weight=0.5),
    ):
        model.fit(*learnt.arrays())
        areas.append(roc_auc_score(labels[small], model.predict_proba(features[small])[:, 1]))
    assert areas[1] > areas[0] + 0.02


def test_the_graph_of_the_watchful_trees_scores_as_they_do() -> None:
    held = examples()
    fitted = trainer_for("scikit-learn")(
        watchful_trees, {"silence": 9, "trees": 30}, held, task="classification", seed=0, place=PLACE
    )
    features = held.arrays()[0]
    assert np.abs(Model(fitted.export())(features) - fitted.predict(features)).max() < 1e-5


@pytest.mark.parametrize(
    "candidate",
    [c for c in USE_CASE.candidates if c.framework in ("scikit-learn", "xgboost")],
    ids=lambda c: c.name,
)
def test_a_candidate_can_be_fitted_with_each_parameter_that_may_be_tuned(candidate: Candidate) -> None:
    n_features = len(USE_CASE.features_of(candidate).names)
    features = np.random.default_rng(0).lognormal(size=(300, n_features)).astype(np.float32)
    labels = (features[:, 0] > 2).astype(np.int8)
    small = {"trees": 5} if "trees" in candidate.params else {}
    model = load_dotted(candidate.builder)(seed=0, n_features=n_features, **candidate.params | small)
    assert model.fit(features, labels).predict_proba(features).shape == (300, 2)
