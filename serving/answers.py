"""What a client is told about an event, and how the store keeps it: as JSON, under the event's id, behind a digest."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlops.records import Decision
from serving.codes import MAX_ID_BYTES, encode_id
from serving.scorer import Scorer

__all__ = [
    "DIGEST_BYTES",
    "Answer",
    "AnswerWithFeatures",
    "answer_of",
    "digest_of_event",
    "event_id_in",
    "new_decision_id",
    "says",
]

DIGEST_BYTES = 16
"""Of the event that an answer was given to."""

_RANDOM_DIGITS = 32
_canonical = msgspec.json.Encoder(order="deterministic").encode


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is told about one event.

    A classification has a `score`, the probability, and a `decision` where the bundle has thresholds; a regression has
    a `prediction`. What it has not is left out.
    """

    event_id: int | str
    decision_id: str
    score: float | UnsetType = UNSET
    prediction: float | UnsetType = UNSET
    decision: str | UnsetType = UNSET
    model: str
    version: str


class AnswerWithFeatures(Answer, frozen=True, kw_only=True):
    """The same with the features by name. It is what the store keeps under the event's id."""

    features: dict[str, float]


def answer_of(decision: Decision, scorer: Scorer) -> bytes:
    """The `AnswerWithFeatures` as JSON; without the names of another bundle's features."""
    same = decision.bundle == scorer.bundle.digest
    predicts = scorer.bundle.schema.task == "regression"
    return msgspec.json.encode(
        AnswerWithFeatures(
            event_id=decision.event_id,
            decision_id=decision.decision_id,
            score=UNSET if predicts else decision.score,
            prediction=decision.score if predicts else UNSET,
            decision=UNSET if decision.decision is None else decision.decision,
            model=scorer.bundle.manifest.name,
            version=decision.version,
            features=dict(zip(scorer.features.names, decision.features, strict=True)) if same else {},
        )
    )


def says(answer: bytes, decision_id: str) -> bool:
    """Whether an answer was given under this decision id."""
    return f'"decision_id":"{decision_id}"'.encode() in answer


def new_decision_id(event_id: int | str) -> str:
    """Random digits, and the event's id: so that the answer is found under it without an index."""
    named = urlsafe_b64encode(encode_id(event_id)).rstrip(b"=").decode()
    return f"{os.urandom(_RANDOM_DIGITS // 2).hex()}-{named}"


def event_id_in(decision_id: str) -> bytes | None:
    """The event's id, encoded; None if it has none."""
    try:
        id_ = urlsafe_b64decode(decision_id[_RANDOM_DIGITS + 1 :] + "==")
    except ValueError:
        return None
    return id_ if 0 < len(id_) <= MAX_ID_BYTES else None


def digest_of_event(values: Mapping[str, Any]) -> bytes:
    """Of an event's canonical columns. A null counts as an absent column, as a later schema may add one."""
    given = {name: value for name, value in values.items() if value is not None}
    return blake2b(_canonical(given), digest_size=DIGEST_BYTES).digest()
