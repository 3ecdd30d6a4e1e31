"""MLflow's scoring server, as of the version below: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/.

Its `/invocations` and `/ping` are SageMaker's as well, and stand there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlops.bundle import Schema
from mlops.errors import InputError
from serving.http import Problem, Request, Response, Route
from serving.protocols.core import Row
from serving.protocols.predictions import no_parameters
from serving.protocols.tables import from_columns, from_rows, from_split
from serving.state import State

__all__ = ["ROUTES", "SPOKEN", "healthy", "is_envelope", "rows_of"]

SPOKEN = "3.17"
"""The version of MLflow whose contract this is; the tests hold it against that one's own client."""


def rows_of(schema: Schema, envelope: Mapping[str, Any]) -> list[Row]:
    """The rows in a body that names its format.

    Raises:
        InputError: it names two, what it holds is not in that format, or there are `params`.
    """
    named = sorted(envelope.keys() & _FORMATS.keys())
    if len(named) != 1:
        raise InputError(
            f"{' and '.join(named)} in one body", todo=f"send exactly one of {', '.join(_FORMATS)}"
        )
    no_parameters(envelope.get("params"), "params")
    return _FORMATS[named[0]](schema, envelope[named[0]], named[0])


def is_envelope(raw: Any) -> bool:
    """Whether a decoded body names its format, and nothing but that and `params`."""
    return type(raw) is dict and raw.keys() <= _MEMBERS and not raw.keys().isdisjoint(_FORMATS)


def healthy(state: State, request: Request) -> Response:
    """200 as long as a model answers and the server stays, with nothing in it.

    It does not ask for the store, as `/readyz` does: who asks here starts a server anew that fails, and a new one
    would find the store as this one does.

    Raises:
        Problem: 503: no model is deployed, or the process is ending.
    """
    if state.follower.service is None or state.draining:
        raise Problem(503, "no model answers here; /readyz says why")
    return Response(b"", type=b"text/plain; charset=utf-8")


def version(state: State, request: Request) -> Response:
    """Which MLflow's contract is spoken. There is no MLflow in this process."""
    return Response(SPOKEN.encode(), type=b"text/plain; charset=utf-8")


ROUTES = (
    Route(method="GET", path="/health", handler=healthy, scope=None),
    Route(method="GET", path="/version", handler=version, scope=None),
)


def _inputs(schema: Schema, raw: Any, at: str) -> list[Row]:
    """By columns if they are named, else by rows."""
    return from_columns(schema, raw, at) if type(raw) is dict else from_rows(schema, raw, at)


_FORMATS: dict[str, Callable[[Schema, Any, str], list[Row]]] = {
    "dataframe_split": from_split,
    "dataframe_records": from_rows,
    "instances": from_rows,
    "inputs": _inputs,
}
_MEMBERS = {*_FORMATS, "params"}
