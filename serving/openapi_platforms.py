"""The routes of managed platforms in the OpenAPI document: what each takes, around the bundle's own rows."""

from __future__ import annotations

import csv
import io
from typing import Any

from serving.json_schema import JsonSchema
from serving.openapi_parts import Examples, body, content, example, json_answer, list_of, ok, operation, ref

__all__ = ["platform_paths", "platform_schemas"]

_ROWS = (
    "Rows are raw events, or the model's features, by name or in the model's order. Events are counted, logged and "
    "decided as by `POST /v1/score`, features scored as by `POST /v1/predict`."
)
_CSV = {"type": "string", "description": "A line each, without names."}
_ANYTHING: JsonSchema = {}


def platform_schemas(schemas: dict[str, JsonSchema]) -> dict[str, JsonSchema]:
    """What the schemas of the service (`schemas_of`) are extended by, by name."""
    row = schemas["Rows"]["properties"]["features"]["items"]
    names = list(example(schemas["Answer"], {}).get("features", {}))
    by_name = {"type": "object", "properties": dict.fromkeys(names, row["items"]), "required": names}
    answer = schemas["Answer"]["properties"]
    event = {name: answer[name] for name in _OF_AN_EVENT if name in answer}
    required = [name for name in schemas["Answer"]["required"] if name in event]
    return {
        "Features": {
            "anyOf": [by_name, row],
            "description": "The model's features, by name or in its order.",
        },
        "Prediction": {
            "anyOf": [{"type": "number"}, {"type": "object", "properties": event, "required": required}],
            "description": "Of features the score, a number; of an event what it was decided.",
        },
        "Predictions": _object({"predictions": _many("Prediction")}),
        "Table": {
            "type": "object",
            "properties": {
                "columns": {"type": "array", "items": {"type": ["string", "integer"]}},
                "index": {"description": "Of no consequence."},
                "data": {"type": "array", "items": {"type": "array"}},
            },
            "required": ["data"],
            "description": "A data frame, split into the names of its columns and its rows.",
        },
        "Columns": {
            "type": "object",
            "additionalProperties": {"type": "array"},
            "description": "For each name the values of all rows.",
        },
    }


def platform_paths(
    schemas: dict[str, JsonSchema], max_events: int, max_rows: int, limits: str
) -> dict[str, dict[str, JsonSchema]]:
    """The paths. Their examples are the event and the features that the other routes have; `limits` are told."""
    event = example(schemas["Event"])
    features = example(schemas["Rows"], {}).get("features") or None
    answered = example(schemas["Answer"])
    prediction: Any = {name: answered[name] for name in _OF_AN_EVENT if name in answered}
    predictions: Examples = {
        "events": ("To events", {"predictions": [prediction]}),
        "features": ("To features", {"predictions": [0.0123]}),
    }
    rows: JsonSchema = {"anyOf": [list_of(ref("Event"), max_events), list_of(ref("Features"), max_rows)]}
    about = f"{_ROWS} {limits}"
    table: Any = {"columns": list(event), "data": [list(event.values())]} if event else None
    return {
        "/invocations": {
            "post": operation(
                "invocations",
                "Score a table, as SageMaker and MLflow ask for it",
                f"{about} Other JSON than MLflow's formats is a row, or a list of rows. The first line of CSV names "
                "the columns, unless it is all numbers. Where `Accept` prefers `text/csv`, a line is answered a row.",
                "platforms",
                "score",
                406,
                409,
                body=body(
                    {
                        "anyOf": [
                            _object({"dataframe_split": ref("Table")}),
                            _object({"dataframe_records": rows}),
                            _object({"instances": rows}),
                            _object({"inputs": {"anyOf": [rows, ref("Columns")]}}),
                            ref("Event"),
                            ref("Features"),
                            rows,
                        ]
                    },
                    {
                        "split": ("A data frame", table and {"dataframe_split": table}),
                        "records": ("Its records", event and {"dataframe_records": [event]}),
                        "instances": ("Features in order", features and {"instances": features}),
                        "inputs": ("Columns", event and {"inputs": {n: [v] for n, v in event.items()}}),
                        "event": ("An event", event),
                        "rows": ("Features", features),
                    },
                    content("text/csv", {"type": "string"}, _csv_examples(event, features)),
                ),
                answer=json_answer(
                    {"anyOf": [ref("Predictions"), ref("Prediction"), _many("Prediction")]},
                    predictions | {"one": ("To one row", prediction), "list": ("To a list", [0.0123])},
                    others=content("text/csv", _CSV, {"features": ("To features", "0.0123\n")}),
                ),
            )
        },
        "/predict": {
            "post": operation(
                "vertex",
                "Score instances, as Vertex AI asks for it",
                f"{about} It is found under the path in `AIP_PREDICT_ROUTE`, too.",
                "platforms",
                "score",
                409,
                body=body(
                    _object({"instances": rows, "parameters": {"maxProperties": 0}}, "instances"),
                    {
                        "events": ("Events", event and {"instances": [event]}),
                        "features": ("Features", features and {"instances": features}),
                    },
                ),
                answer=json_answer(ref("Predictions"), predictions),
            )
        },
        "/score": {
            "post": operation(
                "azure",
                "Score a table, as Azure Machine Learning asks for it",
                about,
                "platforms",
                "score",
                409,
                body=body(
                    {
                        "oneOf": [
                            _object({"input_data": {"anyOf": [ref("Table"), rows, ref("Columns")]}}),
                            _object({"data": rows}),
                        ]
                    },
                    {
                        "frame": ("A data frame of events", table and {"input_data": table}),
                        "data": ("Features", features and {"data": features}),
                    },
                ),
                answer=json_answer(
                    _many("Prediction"),
                    {"events": ("To events", [prediction]), "features": ("To features", [0.0123])},
                ),
            )
        },
        "/ping": {"get": _health("ping", "Whether a model answers, as SageMaker and MLflow ask for it")},
        "/health": {"get": _health("health", "The same, as MLflow and Vertex AI ask for it")},
        "/version": {
            "get": operation(
                "mlflow",
                "Which MLflow's scoring protocol is spoken",
                "",
                "platforms",
                None,
                answer=ok("The version.", content("text/plain", {"type": "string"}, {})),
            )
        },
    }


_OF_AN_EVENT = ("event_id", "decision_id", "score", "prediction", "decision", "model", "version")


def _health(id_: str, summary: str) -> JsonSchema:
    told = "503 while it has no model, or is ending. Vertex AI may ask under the path in `AIP_HEALTH_ROUTE`."
    nothing = content("text/plain", {"type": "string", "maxLength": 0}, {})
    return operation(id_, summary, told, "platforms", None, answer=ok("A model answers.", nothing))


def _object(properties: dict[str, JsonSchema], *required: str) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def _many(name: str) -> JsonSchema:
    return {"type": "array", "items": ref(name)}


def _csv_examples(
    event: dict[str, Any] | None, features: list[list[float]] | None
) -> dict[str, tuple[str, Any]]:
    return {
        "events": ("Events, with names", event and _csv([list(event), list(event.values())])),
        "features": ("Features, without", features and _csv(features)),
    }


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
