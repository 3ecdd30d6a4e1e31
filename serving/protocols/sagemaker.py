"""SageMaker's container contract, and with it MLflow's scoring route, which has the same path.

See https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html. A body's type and its members
tell what it is. CSV is a table; JSON that names one of MLflow's formats is answered as MLflow does, in `predictions`;
any other JSON is a row, or a list of rows, and answered in the same shape.
"""

from __future__ import annotations

from collections.abc import Awaitable

from serving.http import Problem, Request, Response, Route
from serving.members import decoded
from serving.protocols.core import Row, Shape, answered, begin
from serving.protocols.mlflow import healthy, is_envelope, rows_of
from serving.protocols.predictions import as_csv, as_list, as_one, as_predictions
from serving.protocols.tables import from_csv, from_rows
from serving.scoring_routes import service_of
from serving.state import State

__all__ = ["ROUTES"]

_JSON, _CSV = "application/json", "text/csv"
_MAX_HEADER = 1_024


def invocations(state: State, request: Request) -> Response | Awaitable[Response]:
    """Score a table, in JSON or CSV.

    Raises:
        Problem: 415: the body is of another type; 406: only another type is accepted; 431: what says so is too long.
        InputError: a row does not fit.
    """
    started = begin(state, request)
    csv_wanted = _wants_csv(_header(request, "Accept"))
    scorer = service_of(state).scorer
    schema = scorer.bundle.schema
    type_, told = _type(_header(request, "Content-Type") or _JSON)
    if type_ not in (_JSON, _CSV) or told.get("charset", "utf-8").lower() not in ("utf-8", "us-ascii"):
        raise Problem(415, f"the body must be {_JSON} or {_CSV}, in UTF-8")
    shape: Shape = as_predictions
    rows: list[Row]
    if type_ == _CSV:
        declared = {"present": True, "absent": False}.get(told.get("header", ""))
        rows = from_csv(schema, scorer.features.names, request.body, declared)
    else:
        raw = decoded(request.body)
        if is_envelope(raw):
            rows = rows_of(schema, raw)
        elif type(raw) is list:
            rows, shape = from_rows(schema, raw, ""), as_list
        else:
            rows, shape = from_rows(schema, [raw], ""), as_one
    return answered(state, request, rows, as_csv if csv_wanted else shape, started)


ROUTES = (
    Route(method="GET", path="/ping", handler=healthy, scope=None),
    Route(method="POST", path="/invocations", handler=invocations, scope="score", queued=True),
)


def _header(request: Request, name: str) -> str:
    said = request.headers.get(name.lower().encode(), b"").decode("latin-1").strip()
    if len(said) > _MAX_HEADER:
        raise Problem(431, f"{name} is longer than {_MAX_HEADER} bytes")
    return said


def _type(said: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters. None that is looked for has a `;` or a `,` within quotation marks."""
    type_, *parameters = said.split(";")
    named = (parameter.partition("=") for parameter in parameters)
    return type_.strip().lower(), {name.strip().lower(): value.strip(' \t"') for name, _, value in named}


def _wants_csv(accept: str) -> bool:
    """Whether CSV is preferred to JSON, which wins a tie (RFC 9110, 12.5.1).

    Raises:
        Problem: 406: neither is accepted.
    """
    if not accept:
        return False
    weights = dict.fromkeys((_JSON, _CSV), 0.0)
    best = dict.fromkeys(weights, -1)
    for part in accept.split(","):
        name, told = _type(part)
        for type_ in weights:
            exactness = (name == "*/*", name == f"{type_.partition('/')[0]}/*", name == type_)
            if any(exactness) and exactness.index(True) >= best[type_]:
                best[type_] = exactness.index(True)
                weights[type_] = _weight(told.get("q", "1"))
    if not any(weights.values()):
        raise Problem(406, f"the answer can be {_JSON} or {_CSV}, and neither is accepted")
    return weights[_CSV] > weights[_JSON]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
