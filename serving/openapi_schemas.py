"""What the service takes and answers, as JSON Schema: the named schemas of the OpenAPI document."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from mlops.bundle import Bundle
from serving.codes import encode_id
from serving.json_schema import JsonSchema, event_id_schema, event_schema, label_schema
from serving.openapi_problems import problem_schema

__all__ = ["schemas_of"]

_FLOAT32 = 3.4028235677973366e38
"""From here on a number is infinite in single precision, which the model reads."""
_DIGEST = "9f2b0c5d7a1e4f6388c1b2a3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607"
_NAME = {"type": "string", "description": "The model's name."}
_VERSION = {"type": "string", "description": "Its version in the registry."}
_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}


def schemas_of(bundle: Bundle | None, version: str, *, max_rows: int) -> dict[str, JsonSchema]:
    """By name. Without a bundle, what depends on the event schema is an object, or anything."""
    model = {"model": bundle.manifest.name if bundle else "fraud", "version": version or "1"}
    row = [float(f"{value:.6g}") for value in bundle.reference[0]] if bundle and bundle.reference else []
    names = bundle.features.names if bundle else ()
    score: JsonSchema = {
        "type": "number",
        "description": "What the model gives: the probability that it is a "
        f"{bundle.schema.label.positive if bundle else 'positive'}.",
    }
    if not bundle or bundle.schema.task == "classification":
        score |= {"minimum": 0, "maximum": 1}
    else:
        score["description"] = f"What the model predicts: the event's `{bundle.schema.label.column}`."
    return {
        "Event": event_schema(bundle) if bundle else _UNKNOWN_EVENT,
        "Answer": _answer(bundle, score, model, dict(zip(names, row, strict=False))),
        "Reason": _REASON,
        "Label": label_schema(bundle) if bundle else _UNKNOWN_LABEL,
        "Labelled": _object(
            {
                "applied": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "How many are of events that came. Those that are held are the others.",
                },
                "held": {
                    "type": "array",
                    "items": {"type": ["integer", "string"]},
                    "description": "The ids of events that did not come yet. Their labels are kept, and applied "
                    "when they do: there is no need to send them again.",
                },
            },
            {"applied": 1, "held": []},
        ),
        "Rows": _rows(names, row, max_rows),
        "Scores": _object(
            {"scores": {"type": "array", "items": score}, "model": _NAME, "version": _VERSION},
            {"scores": [0.0123]} | model,
        ),
        "Model": _model(bundle, version),
        "Alive": _object({"status": {"const": "alive"}}, {"status": "alive"}),
        "Readiness": _READINESS,
        "Reloaded": _RELOADED,
        "Problem": problem_schema(),
    }


def _answer(
    bundle: Bundle | None, score: JsonSchema, model: dict[str, str], features: dict[str, float]
) -> JsonSchema:
    value = "prediction" if bundle and bundle.schema.task == "regression" else "score"
    decides = bundle is not None and bundle.decisions is not None
    event_id = event_id_schema(bundle.schema) if bundle else {"type": ["integer", "string"]}
    id_ = event_schema(bundle)["examples"][0][bundle.schema.events.id] if bundle else 9_000_000_001
    properties: dict[str, JsonSchema] = {
        "event_id": event_id,
        "decision_id": {
            "type": "string",
            "description": "What the answer is called in the decision log; `GET /v1/decisions/{id}` finds it.",
        },
        value: score,
        "decision": {
            "type": "string",
            "enum": ["approve", "review", "decline"],
            "description": "What is least costly at this score, by the model's policy; as long as it has one.",
        },
        "model": _NAME,
        "version": _VERSION,
        "features": {
            "type": "object",
            "additionalProperties": _NUMBER,
            "description": "What the model read, by name; only if it was asked for.",
        },
        "reasons": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Reason"},
            "description": "What moved the score furthest, the strongest first; only if it was asked for.",
        },
    }
    if bundle and not decides:
        del properties["decision"]
    example: dict[str, Any] = {"event_id": id_, "decision_id": _decision_id(id_), value: 0.0123}
    example |= {"decision": "approve"} if "decision" in properties else {}
    example |= model | {"features": features, "reasons": _REASON["examples"]}
    required = ["event_id", "decision_id", *([value] if bundle else []), "model", "version"]
    return _object(properties, example, required)


def _decision_id(event_id: int | str) -> str:
    named = urlsafe_b64encode(encode_id(event_id)).rstrip(b"=").decode()
    return f"0f8fad5bd9cb469fa16570867728950e-{named}"


def _rows(names: Sequence[str], row: list[float], max_rows: int) -> JsonSchema:
    described: JsonSchema = {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": -_FLOAT32, "exclusiveMaximum": _FLOAT32},
        "description": "One value a feature, in the order of `GET /v1/model`.",
    }
    if names:
        described |= {"minItems": len(names), "maxItems": len(names)}
    rows = {"type": "array", "items": described, "maxItems": max_rows}
    return _object({"features": rows}, {"features": [row] if row else []}) | {"additionalProperties": False}


def _model(bundle: Bundle | None, version: str) -> JsonSchema:
    feature = _object({"name": _TEXT, "unit": _TEXT, "description": _TEXT})
    example: dict[str, Any] | None = None
    if bundle:
        described = bundle.features.describe()
        example = {
            "name": bundle.manifest.name,
            "version": version,
            "framework": bundle.manifest.framework,
            "task": bundle.schema.task,
            "digest": bundle.digest,
            "features": [{"name": name, "unit": unit, "description": text} for name, unit, text in described],
        }
    return _object(
        {
            "name": _NAME,
            "version": _VERSION,
            "framework": {"type": "string", "description": "What it was trained with."},
            "task": {"type": "string", "enum": ["classification", "regression"]},
            "digest": {
                "type": "string",
                "description": "The digest over all files of the bundle that is served.",
            },
            "features": {"type": "array", "items": feature, "description": "In the model's order."},
        },
        example,
    )


def _object(
    properties: dict[str, JsonSchema], example: dict[str, Any] | None = None, required: Sequence[str] = ()
) -> JsonSchema:
    """An object with these fields, which must be there: all of them, unless `required` says which."""
    described: JsonSchema = {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
    }
    return described if example is None else described | {"examples": [example]}


_UNKNOWN_EVENT: JsonSchema = {
    "type": "object",
    "description": "An event, by the deployed model's schema. No model is deployed yet.",
}
_UNKNOWN_LABEL = _object(
    {"event_id": {"type": ["integer", "string"]}, "label": _NUMBER, "known_at": _TEXT},
    required=["event_id", "label"],
)
_REASON = _object(
    {
        "feature": _TEXT,
        "value": {"type": "number", "description": "The feature's value."},
        "contribution": {"type": "number", "description": "What it adds to the score, in the score's unit."},
        "text": {
            "type": "string",
            "description": "The same as a sentence. The reference rows are a few real events of the training "
            "data, from a low score to a high one: what this event is compared with, not the range of what is usual.",
        },
    },
    {
        "feature": "amount",
        "value": 1250.0,
        "contribution": 0.31,
        "text": "what is to be paid (amount) is 1250.00, compared with 12.00 to 80.00 in the reference rows: "
        "raises the score by 0.31",
    },
)
_REFUSAL = _object({"version": _TEXT, "reason": _TEXT}) | {
    "description": "The version that the pointer names and that is not served, and why."
}
_READINESS = _object(
    {
        "status": {"enum": ["ready", "not ready"]},
        "following": {"type": "boolean", "description": "Whether the deployment pointer is still followed."},
        "draining": {"type": "boolean", "description": "Whether the process is ending."},
        "version": _MAYBE_TEXT,
        "digest": _MAYBE_TEXT,
        "pointer": {
            "type": ["string", "null"],
            "description": "Why the deployment pointer names nothing to answer with; null if it does.",
        },
        "refused": {"anyOf": [_REFUSAL, {"type": "null"}]},
        "store": {
            "type": ["string", "null"],
            "description": "Why the store cannot be reached or written; null if it can.",
        },
        "log": {
            "type": ["string", "null"],
            "description": "Why the decision log cannot be written; null if it can.",
        },
        "keys": {
            "type": ["string", "null"],
            "description": "Why the file of API keys, as it is now, is not followed; null if it is.",
        },
    },
    {
        "status": "ready",
        "following": True,
        "draining": False,
        "version": "1",
        "digest": _DIGEST,
        "pointer": None,
        "refused": None,
        "store": None,
        "log": None,
        "keys": None,
    },
)
_WORKER = _object(
    {
        "worker": {"type": "integer"},
        "pid": {"type": ["integer", "null"], "description": "Null for one that has not reported."},
        "name": _TEXT,
        "version": _MAYBE_TEXT,
        "digest": _MAYBE_TEXT,
        "refused": {"anyOf": [_REFUSAL, {"type": "null"}]},
    },
    required=["worker", "pid"],
)
_RELOADED = _object(
    {
        "version": _VERSION,
        "digest": {"type": "string", "description": "Of the bundle that every worker serves."},
        "workers": {"type": "array", "items": _WORKER},
    },
    {
        "version": "2",
        "digest": _DIGEST,
        "workers": [
            {"worker": 0, "pid": 4711, "name": "fraud", "version": "2", "digest": _DIGEST, "refused": None}
        ],
    },
)
