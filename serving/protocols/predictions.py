"""What managed platforms are answered about each row: of features the score itself, of an event the whole result."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from mlops.errors import InputError
from serving.http import Response, json_response
from serving.protocols.core import Result

__all__ = ["as_csv", "as_list", "as_one", "as_predictions", "no_parameters", "prediction"]

_CSV = b"text/csv; charset=utf-8"
_COLUMNS = ("event_id", "decision_id", "score", "prediction", "decision")


def prediction(result: Result) -> Any:
    """A number for a row of features, as a model gives; a `Result` for an event, which was decided under an id."""
    if result.decision_id is not UNSET:
        return result
    return result.prediction if result.score is UNSET else result.score


def as_predictions(results: Sequence[Result]) -> Response:
    """`{"predictions": […]}`."""
    return json_response({"predictions": [prediction(result) for result in results]})


def as_list(results: Sequence[Result]) -> Response:
    """`[…]`."""
    return json_response([prediction(result) for result in results])


def as_one(results: Sequence[Result]) -> Response:
    """The prediction of the one row that there is."""
    return json_response(prediction(results[0]))


def as_csv(results: Sequence[Result]) -> Response:
    """A line each, without names: of features the score; of events id, decision id, score and, if any, decision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for result in results:
        shown = prediction(result)
        cells = [shown] if shown is not result else [getattr(result, name) for name in _COLUMNS]
        writer.writerow([cell for cell in cells if cell is not UNSET])
    return Response(text.getvalue().encode(), type=_CSV)


def no_parameters(given: Any, where: str) -> None:
    """Refuse what would have to be ignored.

    Raises:
        InputError: there are parameters.
    """
    if given:
        raise InputError("the model takes no parameters", where=where, todo="leave them out")
