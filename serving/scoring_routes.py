"""What is asked of the model: score events, score bare features, take labels, look an answer up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

import msgspec
import numpy as np

from mlops.errors import InputError
from serving.batcher import full
from serving.events import Event, EventReader, decode_json, time_text, time_us
from serving.http import Problem, Request, Response, Route, json_response
from serving.instruments import STAGES
from serving.scorer import Scorer
from serving.service import AnswerWithFeatures, Service
from serving.state import State

__all__ = ["MAX_EVENTS", "MAX_LABELS", "MAX_REASONS", "MAX_ROWS", "ROUTES", "read_events", "service_of"]

MAX_EVENTS = 100
"""Events in one request."""

MAX_LABELS = 1_000
"""Labels in one request."""

MAX_REASONS = 10
"""Events in one request that asks for reasons: each takes hundreds of scores."""

MAX_ROWS = 1_000
"""Rows of features in one request."""

T = TypeVar("T")
_PARSE = STAGES.of("parse")
_LABELS_AT_ONCE = 100
_FEATURES = b',"features":'
_encode = msgspec.json.encode


class Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Features in the model's order, a row each."""

    features: list[list[float]]


_rows = msgspec.json.Decoder(Rows).decode
_answer = msgspec.json.Decoder(AnswerWithFeatures).decode


def service_of(state: State) -> Service:
    """What answers.

    Raises:
        Problem: 503, as nothing is deployed yet.
    """
    service = state.follower.service
    if service is None:
        why = "/readyz says why" if state.follower.refused else "nothing was promoted where it looks"
        raise Problem(503, f"no model is deployed yet; {why}", headers={b"retry-after": b"1"})
    return service


def score(state: State, request: Request) -> Response | Awaitable[Response]:
    """One event → one answer; a list of at most 100 → a list of answers in its order."""
    state.batcher.check()
    started = perf_counter()
    reader = service_of(state).scorer.reader
    raw = decode_json(request.body)
    events = read_events(state, reader, raw, started)
    if not events:
        return Response(b"[]")
    join = _in_a_list if isinstance(raw, list) else _alone
    if not request.query:
        return state.batcher.submit(
            events, request.caller, lambda answers: join([_plain(a) for a in answers])
        )
    with_features = request.flag("features")
    if not request.flag("reasons"):
        shape = _whole if with_features else _plain
        return state.batcher.submit(events, request.caller, lambda answers: join([shape(a) for a in answers]))
    if len(events) > MAX_REASONS:
        raise InputError(f"reasons for {len(events)} events", todo=f"ask for those of at most {MAX_REASONS}")
    return _score_with_reasons(state, events, request.caller, with_features, join)


def read_events(state: State, reader: EventReader, raw: Any, started: float) -> list[Event]:
    """The events in a decoded body: one, or a list of at most `MAX_EVENTS`.

    Args:
        started: since when the body has been read, by `time.perf_counter`; the time is counted.

    Raises:
        InputError: there are more, one does not fit the schema, or is from the future.
    """
    events = _each(raw, reader.event, MAX_EVENTS, "events") if isinstance(raw, list) else [reader.event(raw)]
    if events:
        if state.options.max_future_seconds and reader.time:
            place = "[{}]." if isinstance(raw, list) else ""
            _check_not_to_come([e.time_us for e in events], state, f"{place}{reader.time}")
        state.metrics.observe(_PARSE, (perf_counter() - started) / len(events), len(events))
    return events


def predict(state: State, request: Request) -> Response:
    """Rows of features → their scores, from the model alone: nothing is counted and nothing is logged."""
    scorer = service_of(state).scorer
    try:
        rows = _rows(request.body).features
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said, at, path = str(error).partition(" - at `$.")
        where = path.rstrip("`") if at else None
        raise InputError(said, where=where, todo='send {"features": [[…]]}') from None
    width = len(scorer.features.names)
    if len(rows) > MAX_ROWS:
        raise InputError(
            f"{len(rows)} rows in one request", todo=f"send at most {MAX_ROWS}", where="features"
        )
    for place, row in enumerate(rows):
        if len(row) != width:
            raise InputError(f"has {len(row)} features, and the model {width}", where=f"features[{place}]")
    scores = scorer.score(rows) if rows else []
    return json_response({"scores": scores, "model": scorer.bundle.manifest.name, "version": scorer.version})


async def labels(state: State, request: Request) -> Response:
    """A list of at most 1,000 labels → how many were applied, and the ids held for events that did not come yet."""
    service = service_of(state)
    raw = decode_json(request.body)
    if not isinstance(raw, list):
        raise InputError("the body must be a list of labels")
    read = _each(raw, service.scorer.reader.label, MAX_LABELS, "labels")
    if state.options.max_future_seconds:
        _check_not_to_come([time_us(label.known_at) for label in read], state, "[{}].known_at")
    unknown: list[int | str] = []
    for start in range(0, len(read) or 1, _LABELS_AT_ONCE):  # none at all still asks for the store
        unknown += service.label(read[start : start + _LABELS_AT_ONCE])
        await asyncio.sleep(0)  # lets events through; a label that is sent again changes nothing
    return json_response({"accepted": len(read) - len(unknown), "unknown": unknown})


def decision(state: State, request: Request) -> Response:
    """A decision id → what was answered then, with the features."""
    answer = service_of(state).answer(request.match[0])
    if answer is None:
        raise Problem(404, "no decision is known under this id: it was never made, or was forgotten since")
    return Response(answer)


ROUTES = (
    Route(method="POST", path="/v1/score", handler=score, scope="score"),
    Route(method="POST", path="/v1/predict", handler=predict, scope="score"),
    Route(method="POST", path="/v1/labels", handler=labels, scope="labels"),
    Route(method="GET", path="/v1/decisions/{id}", handler=decision, scope="score"),
)


async def _score_with_reasons(
    state: State,
    events: Sequence[Event],
    caller: str,
    with_features: bool,
    join: Callable[[Sequence[bytes]], Response],
) -> Response:
    if state.explaining + len(events) > state.batcher.limit:
        raise full()
    state.explaining += len(events)
    try:
        answers = await state.batcher.submit(events, caller, list)
        scorer = service_of(state).scorer

        def explained() -> list[bytes]:
            return [_with_reasons(answer, scorer, with_features) for answer in answers]

        # In a thread, as it takes a millisecond each; others are scored meanwhile.
        return join(await asyncio.get_running_loop().run_in_executor(state.explainer, explained))
    finally:
        state.explaining -= len(events)


def _with_reasons(answer: bytes, scorer: Scorer, with_features: bool) -> bytes:
    """What an earlier model answered has no reasons: this one's are others."""
    known = _answer(answer)
    same = known.version == scorer.version and known.features
    reasons = scorer.reasons(np.fromiter(known.features.values(), np.float32)) if same else ()
    shown = answer if with_features else _plain(answer)
    return shown[:-1] + b',"reasons":' + _encode(reasons) + b"}"


def _plain(answer: bytes) -> bytes:
    """Without the features, which come last: within text no quotation mark stands unescaped."""
    return answer[: answer.index(_FEATURES)] + b"}"


def _whole(answer: bytes) -> bytes:
    return answer


def _alone(answers: Sequence[bytes]) -> Response:
    return Response(answers[0])


def _in_a_list(answers: Sequence[bytes]) -> Response:
    return Response(b"[" + b",".join(answers) + b"]")


def _each(raw: list[Any], read: Callable[[Any, str], T], limit: int, what: str) -> list[T]:
    if len(raw) > limit:
        raise InputError(f"{len(raw)} {what} in one request", todo=f"send at most {limit}")
    return [
        read(item, f"[{place}]" if type(item) is not dict else f"[{place}].")
        for place, item in enumerate(raw)
    ]


def _check_not_to_come(times_us: Sequence[int], state: State, field: str) -> None:
    """Refuse what is from further ahead than clocks differ: all that comes after it would look late.

    Args:
        field: its name, with a place for its number.
    """
    latest = int((time.time() + state.options.max_future_seconds) * 1e6)
    for number, moment in enumerate(times_us):
        if moment > latest:
            raise InputError(f"{time_text(moment)} is in the future", where=field.format(number))
