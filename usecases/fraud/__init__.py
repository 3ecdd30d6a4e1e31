"""Card-payment fraud: the use case as the platform sees it."""

from __future__ import annotations

from pathlib import Path

from mlops.contract import UseCase
from mlops.policy import Policy
from usecases.fraud.candidates import CANDIDATES
from usecases.fraud.events import EVENTS, LABEL
from usecases.fraud.features import FEATURES
from usecases.fraud.slices import SLICES

__all__ = ["USE_CASE"]

USE_CASE = UseCase(
    name="fraud",
    title="Card-payment fraud detection",
    events=EVENTS,
    label=LABEL,
    features=FEATURES,
    candidates=CANDIDATES,
    policy=Policy.from_yaml(Path(__file__).with_name("policy.yaml")),
    card="customer_id",
    amount="amount",
    slices=SLICES,
    world="usecases.fraud.world:World",
    simulator="usecases.fraud.simulator:write_days",
)
