"""The Open Inference Protocol v2 over REST, as Triton's and KServe's clients speak it.

A request brings the model's features as one tensor `features` [n, f], or one tensor [n] a column: an event's columns,
or the features by name. Tensors are JSON, or bytes (see `binary`). Errors are `{"error": "…"}`.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from mlops.bundle import Schema
from mlops.errors import InputError
from mlops.model import Floats
from mlops.schema import Column
from serving.health_routes import readyz
from serving.http import Problem, Request, Response, Route, json_response
from serving.protocols.binary import HEADER, Values
from serving.protocols.core import Result, answered, begin, from_table
from serving.protocols.tensors import Tensor, answer, read, wanted
from serving.scorer import Scorer
from serving.scoring_routes import MAX_ROWS, service_of
from serving.state import State

__all__ = ["FEATURES", "PREFIX", "ROUTES", "column_datatype", "refused"]

PREFIX = "/v2/"
"""What the paths of the protocol begin with."""

FEATURES = "features"
"""The input that has all features, in the model's order."""

_DATATYPES = {
    "id": "BYTES",
    "timestamp": "BYTES",
    "decimal": "FP64",
    "float": "FP64",
    "integer": "INT64",
    "text": "BYTES",
    "boolean": "BOOL",
}

_SERVER = {"name": "mlops-serving", "version": "1.0", "extensions": ["binary_tensor_data"]}
_PLATFORM = "onnxruntime_onnx"


def server(state: State, request: Request) -> Response:
    """The server, and the extensions that it speaks."""
    return json_response(_SERVER)


def live(state: State, request: Request) -> Response:
    """The process answers."""
    return Response(b'{"live":true}')


async def ready(state: State, request: Request) -> Response:
    """200 where `/readyz` says so."""
    status = (await readyz(state, request)).status
    return json_response({"ready": status == 200}, status)


async def model_ready(state: State, request: Request) -> Response:
    """The same of a model, if it is the one that is deployed."""
    name = _scorer(state, request.match).bundle.manifest.name
    status = (await readyz(state, request)).status
    return json_response({"name": name, "ready": status == 200}, status)


def metadata(state: State, request: Request) -> Response:
    """The model's inputs, `features` or else the columns of an event, as their parameters say; and its outputs."""
    scorer = _scorer(state, request.match)
    schema = scorer.bundle.schema
    inputs: list[dict[str, Any]] = [
        {
            "name": FEATURES,
            "datatype": "FP32",
            "shape": [-1, len(scorer.features.names)],
            "parameters": {"of": "features"},
        }
    ]
    inputs += [
        {
            "name": column.name,
            "datatype": column_datatype(schema, column),
            "shape": [-1],
            "parameters": {"of": "event", "nullable": column.nullable},
        }
        for column in schema.events.columns
        if column.name not in schema.label.columns
    ]
    outputs = [{"name": n, "datatype": datatype, "shape": [-1]} for n, datatype in _outputs(scorer).items()]
    name, versions = scorer.bundle.manifest.name, [scorer.version]
    return json_response(
        {"name": name, "versions": versions, "platform": _PLATFORM, "inputs": inputs, "outputs": outputs}
    )


def infer(state: State, request: Request) -> Response | Awaitable[Response]:
    """Tensors in, tensors out.

    Raises:
        InputError: the request does not fit.
        Problem: 404: another model, or version, is deployed; 503: none is, or too many events wait.
    """
    scorer = _scorer(state, request.match)
    started = begin(state, request)
    asked, inputs = read(request.body, request.headers.get(HEADER), MAX_ROWS)
    datatypes = _outputs(scorer)
    in_bytes = wanted(asked, datatypes)

    def shape(columns: Mapping[str, Values], count: int, version: str) -> Response:
        if asked.outputs and (lacking := in_bytes.keys() - columns.keys()):
            raise InputError("is there for events, not for features", where=f"output {min(lacking)!r}")
        outputs = {n: Tensor(datatypes[n], [count], columns[n]) for n in in_bytes if n in columns}
        return answer(asked, scorer.bundle.manifest.name, version, outputs, in_bytes)

    if FEATURES in inputs:
        scores = _score(scorer, inputs)
        columns: dict[str, Values] = {_value(scorer): scores}
        if "decision" in in_bytes:
            columns["decision"] = [scorer.decide(score) for score in scores.tolist()]
        return shape(columns, len(scores), scorer.version)
    rows = from_table(scorer.bundle.schema, _rows(inputs))

    def told(results: Sequence[Result]) -> Response:
        # An event that came before has the answer that it got then, which may be an earlier version's.
        versions = dict.fromkeys(result.version for result in results)
        return shape(_columns(scorer, results), len(results), ", ".join(versions) or scorer.version)

    return answered(state, request, rows, told, started)


def column_datatype(schema: Schema, column: Column) -> str:
    """What a column of an event is said to be; others are taken if no value is lost."""
    return "INT64" if column.name in schema.whole_number_ids else _DATATYPES[column.type]


def refused(problem: Response) -> Response:
    """A problem document as the protocol has errors; what does not fit is 400 there."""
    detail = msgspec.json.decode(problem.body)["detail"]
    response = json_response({"error": detail}, 400 if problem.status == 422 else problem.status)
    response.headers = problem.headers
    return response


_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"
ROUTES = (
    Route(method="GET", path="/v2", handler=server, scope=None),
    Route(method="GET", path="/v2/health/live", handler=live, scope=None),
    Route(method="GET", path="/v2/health/ready", handler=ready, scope=None),
    *(Route(method="GET", path=path, handler=metadata, scope="score") for path in (_MODEL, _VERSION)),
    # Whether a name or a version is the one that is deployed is for no stranger to find out.
    *(Route(method="GET", path=f"{p}/ready", handler=model_ready, scope="score") for p in (_MODEL, _VERSION)),
    *(
        Route(method="POST", path=f"{path}/infer", handler=infer, scope="score", queued=True)
        for path in (_MODEL, _VERSION)
    ),
)


def _scorer(state: State, match: tuple[str, ...]) -> Scorer:
    """What answers, if it is the model, and the version where one is named, that are asked for."""
    scorer = service_of(state).scorer
    name = scorer.bundle.manifest.name
    if match[0] != name:
        raise Problem(404, f"no model {match[0][:80]!r} is deployed here; {name!r} is")
    if match[1:] and match[1] != scorer.version:
        raise Problem(404, f"version {match[1][:80]!r} of {name!r} is not deployed; {scorer.version!r} is")
    return scorer


def _outputs(scorer: Scorer) -> dict[str, str]:
    """The outputs' datatypes; the ids are there for events only."""
    schema = scorer.bundle.schema
    return {
        _value(scorer): "FP32",
        **({} if scorer.bundle.decisions is None else {"decision": "BYTES"}),
        "event_id": column_datatype(schema, schema.events.column(schema.events.id)),
        "decision_id": "BYTES",
    }


def _value(scorer: Scorer) -> str:
    return "prediction" if scorer.bundle.schema.task == "regression" else "score"


def _score(scorer: Scorer, inputs: Mapping[str, Tensor]) -> Floats:
    """The scores of the tensor of all features."""
    given, width, where = inputs[FEATURES], len(scorer.features.names), f"input {FEATURES!r}"
    if len(inputs) > 1:
        raise InputError("has all features, and comes alone", where=where)
    if given.datatype not in ("FP32", "FP64"):
        raise InputError(f"must be FP32 or FP64, not {given.datatype}", where=where)
    if len(given.shape) != 2 or given.shape[1] != width:
        raise InputError(f"has the shape {given.shape}, and must have [n, {width}]", where=where)
    rows = given.shape[0]
    with np.errstate(over="ignore"):  # it is infinite then, and refused as such
        # Copied in any case, as bytes behind a JSON of any length begin anywhere.
        features = np.array(given.values, np.float32).reshape(rows, width)
    return scorer.score_array(features) if rows else np.empty(0, np.float32)


def _rows(inputs: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The rows of inputs that are a column each."""
    if not inputs:
        raise InputError("there are no inputs", todo=f"send {FEATURES}, or the columns of events")
    count = next(iter(inputs.values())).shape[0]
    for name, given in inputs.items():
        if given.shape not in ([count], [count, 1]):
            fitting = f"[{count}] or [{count}, 1]; only {FEATURES!r} has all features"
            raise InputError(f"has the shape {given.shape}, and not {fitting}", where=f"input {name[:80]!r}")
    columns = [g.values.tolist() if isinstance(g.values, np.ndarray) else g.values for g in inputs.values()]
    return [dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _columns(scorer: Scorer, results: Sequence[Result]) -> dict[str, Values]:
    """Results as outputs. An event that came before may have been answered by a model that decides nothing."""
    columns: dict[str, Values] = {
        _value(scorer): [r.prediction if r.score is UNSET else r.score for r in results],
        "decision": ["" if r.decision is UNSET else r.decision for r in results],
    }
    if not results or results[0].decision_id is not UNSET:
        columns["event_id"] = [r.event_id for r in results]
        columns["decision_id"] = [r.decision_id for r in results]
    return columns
