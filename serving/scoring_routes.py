"""What is asked of the model: score events, score bare features, take labels, look an answer up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from math import isfinite
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
import numpy as np

from mlops.errors import InputError
from serving.answers import AnswerWithFeatures
from serving.batcher import full
from serving.events import Event, EventReader, time_text, time_us
from serving.http import Problem, Request, Response, Route, json_response
from serving.instruments import STAGES
from serving.members import check_members, decode_json
from serving.scorer import Scorer
from serving.service import Service
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
_FLAGS = ("features", "reasons")
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
        why = "nothing was promoted where it looks" if state.follower.waiting else "/readyz says why"
        raise Problem(503, f"no model is deployed yet; {why}", headers={b"retry-after": b"1"})
    return service


def score(state: State, request: Request) -> Response | Awaitable[Response]:
    """One event → one answer; a list of at most 100 → a list of answers in its order."""
    state.batcher.check()
    started = perf_counter()
    reader = service_of(state).scorer.reader
    raw = decode_json(request.body)
    events = read_events(state, reader, raw, started)
    check_members(request.body, raw)
    if not events:
        return Response(b"[]")
    join = _in_a_list if isinstance(raw, list) else _alone
    if not request.query:
        return state.batcher.submit(
            events, request.caller, lambda answers: join([_plain(a) for a in answers])
        )
    _check_query(request)
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
    rows = _read_rows(request.body)
    width = len(scorer.features.names)
    if len(rows) > MAX_ROWS:
        raise InputError(
            f"{len(rows)} rows in one request", todo=f"send at most {MAX_ROWS}", where="features"
        )
    check_members(request.body, {"features": rows})
    for place, row in enumerate(rows):
        if len(row) != width:
            raise InputError(f"has {len(row)} features, and the model {width}", where=f"features[{place}]")
    scores = scorer.score(rows) if rows else []
    return json_response({"scores": scores, "model": scorer.bundle.manifest.name, "version": scorer.version})


async def labels(state: State, request: Request) -> Response:
    """A list of at most 1,000 labels → how many were applied, and the ids held for events that did not come yet.

    They are taken a hundred in a turn of the loop, whoever sent them, and between two turns events are scored. No more
    turns may wait than events; whether they may is seen before the labels are read, which takes longer than to refuse.
    """
    turns = request.body.count(b"{") // _LABELS_AT_ONCE + 1
    if state.labelling and state.labelling + turns > state.batcher.limit:
        raise Problem(503, "too many labels wait to be taken", headers={b"retry-after": b"1"}, reason="queue")
    service = service_of(state)
    raw = decode_json(request.body)
    if not isinstance(raw, list):
        raise InputError("the body must be a list of labels")
    read = _each(raw, service.scorer.reader.label, MAX_LABELS, "labels")
    check_members(request.body, raw)
    if state.options.max_future_seconds:
        _check_not_to_come([time_us(label.known_at) for label in read], state, "[{}].known_at")
    held: list[int | str] = []
    state.labelling += turns
    try:
        async with state.label_turn:
            for start in range(0, len(read) or 1, _LABELS_AT_ONCE):  # none at all still asks for the store
                held += service.label(read[start : start + _LABELS_AT_ONCE])
                await asyncio.sleep(0)  # a label that is sent again changes nothing
    finally:
        state.labelling -= turns
    return json_response({"applied": len(read) - len(held), "held": held})


def decision(state: State, request: Request) -> Response:
    """A decision id → what was answered then, with the features."""
    answer = service_of(state).answer(request.match[0])
    if answer is None:
        raise Problem(404, "no decision is known under this id: it was never made, or was forgotten since")
    return Response(answer)


ROUTES = (
    Route(method="POST", path="/v1/score", handler=score, scope="score", queued=True),
    Route(method="POST", path="/v1/predict", handler=predict, scope="score"),
    Route(method="POST", path="/v1/labels", handler=labels, scope="labels"),
    Route(method="GET", path="/v1/decisions/{id}", handler=decision, scope="score"),
)


def _check_query(request: Request) -> None:
    """Refuse what is asked for and not known: who misspells a flag would take its absence for an answer."""
    for name, said in parse_qs(request.query.decode("latin-1"), keep_blank_values=True).items():
        if name not in _FLAGS:
            near = get_close_matches(name.lower(), _FLAGS, 1)
            todo = f"did you mean {near[0]}?" if near else f"there are {' and '.join(_FLAGS)}"
            raise InputError("is not a parameter", where=name[:80] or None, todo=todo)
        if len(said) > 1:
            raise InputError("is there twice", where=name, todo="leave one out")


def _read_rows(body: bytes) -> list[list[float]]:
    try:
        return _rows(body).features
    except msgspec.ValidationError as error:
        raise _misfit(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raw = decode_json(body)
    try:
        rows = msgspec.convert(raw, Rows).features
    except msgspec.ValidationError as error:
        raise _misfit(error) from None
    for place, row in enumerate(rows):
        for column, value in enumerate(row):
            if not isfinite(value):
                raise InputError(f"{value!r} is not a finite number", where=f"features[{place}][{column}]")
    return rows


def _misfit(error: msgspec.ValidationError) -> InputError:
    said, at, path = str(error).partition(" - at `$.")
    return InputError(said, where=path.rstrip("`") if at else None, todo='send {"features": [[…]]}')


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
    found = scorer.reasons(np.fromiter(known.features.values(), np.float32)) if same else ()
    # A value is in one answer as it is in the other, and not with the digits that single precision adds.
    reasons = [msgspec.structs.replace(reason, value=known.features[reason.feature]) for reason in found]
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
    now_s, ahead_s = time.time(), state.options.max_future_seconds
    latest = int((now_s + ahead_s) * 1e6)
    for number, moment in enumerate(times_us):
        if moment > latest:
            raise InputError(
                f"{time_text(moment)} is in the future",
                where=field.format(number),
                todo=f"it is {time_text(int(now_s) * 1_000_000)} here, and at most {ahead_s / 3600:g} h ahead is taken",
            )
