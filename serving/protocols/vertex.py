"""Vertex AI's contract for custom containers.

See https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. The paths that it asks are
whatever it says in variables; both may be the same one, asked with GET and with POST.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from mlops.errors import InputError
from serving.http import Request, Response, Route
from serving.members import decoded
from serving.protocols.core import answered, begin
from serving.protocols.predictions import as_predictions, no_parameters
from serving.protocols.tables import from_rows
from serving.scoring_routes import service_of
from serving.state import State

__all__ = ["ROUTES", "aliases"]

HEALTH, PREDICT = "/health", "/predict"
"""Where the two are found under all circumstances."""


def aliases(env: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The paths that Vertex AI asks, as (method, path, path of the route that answers)."""
    asked = ("GET", env.get("AIP_HEALTH_ROUTE"), HEALTH), ("POST", env.get("AIP_PREDICT_ROUTE"), PREDICT)
    return [(method, path, route) for method, path, route in asked if path]


def predict(state: State, request: Request) -> Response | Awaitable[Response]:
    """`{"instances": […]}` → `{"predictions": […]}`.

    Raises:
        InputError: there are no instances, one does not fit, or there are parameters.
    """
    started = begin(state, request)
    schema = service_of(state).scorer.bundle.schema
    raw = decoded(request.body)
    if type(raw) is not dict or "instances" not in raw:
        raise InputError("is missing", where="instances", todo='send {"instances": [...]}')
    no_parameters(raw.get("parameters"), "parameters")
    rows = from_rows(schema, raw["instances"], "instances")
    return answered(state, request, rows, as_predictions, started)


ROUTES = (Route(method="POST", path=PREDICT, handler=predict, scope="score", queued=True),)
