"""Azure Machine Learning's scoring route.

See https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container: an environment names the routes
of a container, and infra/azureml names this one, `/livez` and `/readyz`. The bodies are those of its own servers:
`input_data` is what MLflow models are sent there, `data` what scoring scripts are; both are answered with a list.
"""

from __future__ import annotations

from collections.abc import Awaitable

from mlops.errors import InputError
from serving.http import Request, Response, Route
from serving.members import decoded
from serving.protocols.core import Row, answered, begin
from serving.protocols.predictions import as_list, no_parameters
from serving.protocols.tables import from_columns, from_rows, from_split
from serving.scoring_routes import service_of
from serving.state import State

__all__ = ["ROUTES"]


def score(state: State, request: Request) -> Response | Awaitable[Response]:
    """`{"input_data": {"columns": […], "data": […]}}`, or rows, or columns → `[…]`; and so `{"data": […]}`.

    Raises:
        InputError: there is neither or both, a row does not fit, or there are parameters.
    """
    started = begin(state, request)
    schema = service_of(state).scorer.bundle.schema
    raw = decoded(request.body)
    if type(raw) is not dict or ("input_data" in raw) == ("data" in raw):
        both = type(raw) is dict and "data" in raw
        raise InputError(
            "came with data, which says the same" if both else "is missing",
            where="input_data",
            todo='send {"input_data": …}, or {"data": […]}',
        )
    no_parameters(raw.get("params"), "params")
    rows: list[Row]
    if "data" in raw:
        rows = from_rows(schema, raw["data"], "data")
    elif type(table := raw["input_data"]) is not dict:
        rows = from_rows(schema, table, "input_data")
    elif type(table.get("columns")) is list and type(table.get("data")) is list:
        rows = from_split(schema, table, "input_data")
    else:
        rows = from_columns(schema, table, "input_data")
    return answered(state, request, rows, as_list, started)


ROUTES = (Route(method="POST", path="/score", handler=score, scope="score", queued=True),)
