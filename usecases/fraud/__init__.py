"""Card-payment fraud: the use case as the platform sees it."""

from __future__ import annotations

from pathlib import Path

from mlops.contract import Candidate, UseCase
from mlops.policy import Policy
from usecases.fraud.events import EVENTS, LABEL
from usecases.fraud.features import FEATURES

__all__ = ["USE_CASE"]

USE_CASE = UseCase(
    name="fraud",
    title="Card-payment fraud detection",
    events=EVENTS,
    label=LABEL,
    features=FEATURES,
    candidates=(
        Candidate(
            name="extra-trees",
            framework="scikit-learn",
            builder="usecases.fraud.models:extra_trees",
        ),
        Candidate(name="mlp-torch", framework="pytorch", builder="usecases.fraud.models:mlp_torch"),
        Candidate(name="mlp-keras", framework="tensorflow", builder="usecases.fraud.models:mlp_keras"),
    ),
    policy=Policy.from_yaml(Path(__file__).with_name("policy.yaml")),
    card="customer_id",
    amount="amount",
    world="usecases.fraud.world:World",
    simulator="usecases.fraud.simulator:write_days",
)
