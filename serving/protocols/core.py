"""What every protocol does with the rows that it decoded: tell raw events from features, score them, give results.

A row with names is a raw event or the model's features, whichever its names are; a row without names is features in
the model's order. Events go the way of `/v1/score`: counted, logged, decided. Features go that of `/v1/predict`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlops.bundle import Schema
from mlops.errors import InputError
from serving.http import Problem, Request, Response
from serving.scorer import Scorer
from serving.scoring_routes import MAX_ROWS, read_events, service_of
from serving.state import State

__all__ = ["MAX_BODY_BYTES", "Result", "Row", "Shape", "answered", "begin", "check_count", "from_table"]

MAX_BODY_BYTES = 2 * 2**20
"""Of a request: 2 KiB for each of 1,000 rows, such as 150 numbers, or 60 with names.

What rows are is seen when all of them were decoded, and that can take forty times the memory of the body.
"""

Row = dict[str, Any] | list[Any]
"""Values by name, or features in the model's order; as JSON has them."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered about a row. What it has not is left out, also in JSON.

    Fields:
        event_id, decision_id: of an event.
        score: of a classification; prediction: of a regression.
        decision: where the bundle has thresholds.
    """

    event_id: int | str | UnsetType = UNSET
    decision_id: str | UnsetType = UNSET
    score: float | UnsetType = UNSET
    prediction: float | UnsetType = UNSET
    decision: str | UnsetType = UNSET
    model: str
    version: str


Shape = Callable[[list[Result]], Response]
"""What a protocol makes of the results, in the rows' order. It must not raise."""

_NUMBER = re.compile(r"\d+")
_EXACT = 2.0**53  # from here on a double cannot tell one whole number from the next
_result = msgspec.json.Decoder(Result).decode


def begin(state: State, request: Request) -> float:
    """The time at which the reading of a body begins, by `time.perf_counter`; for `answered`.

    Whether a body holds events is seen when it was read. So while the queue is full it is left unread, whatever it has.

    Raises:
        Problem: 503: as many events wait as may; 413: the body is too large.
    """
    state.batcher.check()
    if len(request.body) > MAX_BODY_BYTES:
        raise Problem(413, f"the body is larger than {MAX_BODY_BYTES} bytes", reason="body")
    return perf_counter()


def answered(
    state: State, request: Request, rows: Sequence[Row], shape: Shape, started: float
) -> Response | Awaitable[Response]:
    """The response to a request with `rows`, all events or all features: for a handler to return as it is.

    Args:
        started: what `begin` gave.

    Raises:
        InputError: a row does not fit, or they are not all of one kind; `where` is its place and field: `[3].amount`.
        Problem: 503: no model is deployed, or too many events wait.
    """
    scorer = service_of(state).scorer
    if not rows:
        return shape([])
    check_count(len(rows))
    if _are_events(scorer, rows):
        events = read_events(state, scorer.reader, rows, started)
        return state.batcher.submit(
            events, request.caller, lambda answers: shape([_result(answer) for answer in answers])
        )
    return shape(_of_features(scorer, scorer.score(_features(scorer.features.names, rows))))


def check_count(rows: int) -> None:
    """Refuse more rows than are taken, before they are looked at one by one."""
    if rows > MAX_ROWS:
        raise InputError(f"{rows} rows in one request", todo=f"send at most {MAX_ROWS}")


def from_table(schema: Schema, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows of a data frame as JSON would have them: there NaN stands for nothing, and a column of whole numbers of
    which one is missing is of floats.
    """
    columns = schema.events.columns
    whole = {c.name for c in columns if c.type == "integer" or c.name in schema.whole_number_ids}
    return [{name: _from_cell(value, name in whole) for name, value in row.items()} for row in rows]


def _of_features(scorer: Scorer, scores: Sequence[float]) -> list[Result]:
    """What is answered about rows of features that got these scores."""
    model, version = scorer.bundle.manifest.name, scorer.version
    predicts = scorer.bundle.schema.task == "regression"
    return [
        Result(
            score=UNSET if predicts else score,
            prediction=score if predicts else UNSET,
            decision=UNSET if (decision := scorer.decide(score)) is None else decision,
            model=model,
            version=version,
        )
        for score in scores
    ]


def _from_cell(value: Any, whole: bool) -> Any:
    if type(value) is not float:
        return value
    if math.isnan(value):
        return None
    return int(value) if whole and value.is_integer() and abs(value) <= _EXACT else value


def _are_events(scorer: Scorer, rows: Sequence[Row]) -> bool:
    """Whether rows are events, or else features.

    Raises:
        InputError: some are events and some are features, or one is neither an object nor a list.
    """
    schema = scorer.bundle.schema
    columns = [c for c in schema.events.columns if c.name not in schema.label.columns]
    names = {column.name for column in columns}
    needed = {column.name for column in columns if not column.nullable}
    if scorer.reader.numbered:
        needed.remove(schema.events.id)
    features = frozenset(scorer.features.names)

    def is_event(row: Row) -> bool:
        if type(row) is not dict:
            return False
        given = row.keys()
        if given == features:  # which may be an event's columns as they are, and an event without its id
            return needed <= given <= names
        return needed <= given or not given & (features - names) or bool(given & (names - features))

    kinds = [is_event(row) for row in rows]
    for place, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        if type(row) is not dict and type(row) is not list:
            raise InputError(
                "is no row",
                where=f"[{place}]",
                todo="send a list of rows, each an object or a list of features",
            )
        if kind != kinds[0]:
            said = ("an event", "features") if kind else ("features", "events")
            raise InputError(
                f"is {said[0]}, and the rows before it are {said[1]}",
                where=f"[{place}]",
                todo="send one kind in a request",
            )
    return kinds[0]


def _features(names: Sequence[str], rows: Sequence[Row]) -> list[list[float]]:
    """Rows of features as lists in the model's order.

    Raises:
        InputError: a row has not these features, or one is no number.
    """
    lists = [row if type(row) is list else _in_order(names, row, place) for place, row in enumerate(rows)]
    for place, row in enumerate(lists):
        if len(row) != len(names):
            raise InputError(f"has {len(row)} features, and the model {len(names)}", where=f"[{place}]")
    try:
        return msgspec.convert(lists, list[list[float]])
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        place, column = (int(number) for number in _NUMBER.findall(path))
        raise InputError(said, where=f"[{place}].{names[column]}") from None


def _in_order(names: Sequence[str], row: Row, place: int) -> list[Any]:
    assert type(row) is dict
    if unknown := row.keys() - set(names):
        raise InputError("is not a feature of the model", where=f"[{place}].{min(unknown)[:80]}")
    try:
        return [row[name] for name in names]
    except KeyError as error:
        raise InputError("is missing", where=f"[{place}].{error.args[0]}") from None
