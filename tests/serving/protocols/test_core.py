"""What the protocols share: rows are told apart by their names, and go the way of events or that of features."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.errors import ConflictError, InputError
from mlops.records import read_decisions
from serving.http import Problem, Request, Response, json_response
from serving.protocols.core import Row, answered, begin, from_table
from serving.scoring_routes import MAX_EVENTS, MAX_ROWS
from tests.serving.example import FEATURES, NUMBERS, World, payment, payments
from tests.serving.protocols.worker import Worker, working
from tests.serving.test_plain import FEATURES as AREA
from tests.serving.test_plain import FLAT, LET, RENT

NAMES = FEATURES.names
ONE = NAMES[1]


@pytest.fixture
def worker(world: World) -> Iterator[Worker]:
    with working(world) as worker:
        yield worker


def ask(worker: Worker, *rows: Row) -> Any:
    """The results as JSON has them."""

    async def answer() -> Any:
        request = Request("POST", "/", b"", {}, b"")
        started = begin(worker.state, request)
        given = answered(worker.state, request, list(rows), json_response, started)
        response = given if isinstance(given, Response) else await given
        return msgspec.json.decode(response.body)

    return worker.loop.run_until_complete(answer())


def features(value: float = 1.0, **changes: Any) -> dict[str, Any]:
    return dict.fromkeys(NAMES, value) | changes


def test_events_are_answered_as_score_answers_and_logged_once(world: World, worker: Worker) -> None:
    results = ask(worker, *payments(range(3)))
    status, answers = worker.post("/v1/score", payments(range(3)))
    assert (status, results) == (200, answers)
    assert [d.decision_id for d in read_decisions(world.decisions)] == [r["decision_id"] for r in results]


def test_features_by_name_or_in_order_get_the_score_of_predict_and_are_not_logged(
    world: World, worker: Worker
) -> None:
    values = [[float(n + m) for m in range(len(NAMES))] for n in range(3)]
    _, predicted = worker.post("/v1/predict", {"features": values})
    by_name = [dict(reversed(list(zip(NAMES, row, strict=True)))) for row in values]
    for rows in (values, by_name, [values[0], by_name[1], values[2]]):
        results = ask(worker, *rows)
        assert [result["score"] for result in results] == predicted["scores"]
        assert {frozenset(result) for result in results} == {
            frozenset({"score", "decision", "model", "version"})
        }
    assert not list(read_decisions(world.decisions))


def test_no_rows_have_no_results(worker: Worker) -> None:
    assert ask(worker) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([payment(1), features()], r"\[1\]: is features, and the rows before it are events"),
        ([features(), features(), payment(1)], r"\[2\]: is an event, and the rows before it are features"),
        ([payment(1), [1.0]], r"\[1\]: is features"),
        ([payment(1), 5], r"\[1\]: is no row"),
        ([None], r"\[0\]: is no row"),
        ([payment(1), payment(2, amount=-1)], r"\[1\]\.amount: "),
        ([{}], r"\[0\]\.payment: is missing"),
        ([{"nobody": 1}], r"\[0\]\.payment: is missing"),
        ([{"amount": 1.0}], r"\[0\]\.payment: is missing"),
        ([payment(1, weekend=1.0)], r"\[0\]\.weekend: is not a field of an event"),
        ([features(), features(more=1)], r"\[1\]\.more: is not a feature"),
        ([dict.fromkeys(NAMES[:-1], 1.0)], rf"\[0\]\.{NAMES[-1]}: is missing"),
        ([[1.0] * len(NAMES), [1.0]], r"\[1\]: has 1 features"),
        ([features(), features(**{ONE: "1"})], rf"\[1\]\.{ONE}: Expected `float`, got `str`"),
        ([features(**{ONE: None})], rf"\[0\]\.{ONE}: Expected `float`, got `null`"),
        ([features(**{ONE: 10**400})], rf"\[0\]\.{ONE}: Number out of range"),
        ([features(**{ONE: math.nan})], rf"{ONE}: is beyond single precision"),
        ([features(**{ONE: 1e39})], rf"{ONE}: is beyond single precision"),
        ([features()] * (MAX_ROWS + 1), "1001 rows in one request"),
        (payments(range(MAX_EVENTS + 1)), "101 events in one request"),
    ],
)
def test_rows_that_do_not_fit_are_named(worker: Worker, rows: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ask(worker, *rows)


def test_what_score_refuses_is_refused(worker: Worker) -> None:
    with pytest.raises(InputError, match=r"\[1\]\.at: .* is in the future"):
        ask(worker, payment(1), payment(2, at="2099-01-01T00:00:00"))
    ask(worker, payment(1))
    with pytest.raises(ConflictError, match="another event came before"):
        ask(worker, payment(1, amount=5))
    worker.state.batcher.events = worker.state.batcher.limit
    with pytest.raises(Problem, match="too many events wait"):
        ask(worker, payment(2))


def test_columns_that_are_features_as_they_are_make_an_event_only_if_it_needs_no_id(tmp_path: Path) -> None:
    bare = {"area": 50.5, "rooms": 2}
    for name, schema, is_event in (
        ("numbered", RENT, True),
        ("with ids", msgspec.structs.replace(RENT, whole_number_ids=("flat",)), False),
    ):
        world = World(tmp_path / name)
        world.deploy("1", world.bundle(features=AREA, schema=schema, decisions=None))
        with working(world) as worker:
            (result,) = ask(worker, bare)
            assert ("event_id" in result) == is_event
            (result,) = ask(worker, FLAT | {"flat": 7, "let": None})
            assert str(result["event_id"]) == "7"


@pytest.mark.parametrize(("schema", "said"), [(RENT, "prediction"), (LET, "score")])
def test_a_result_has_what_there_is(tmp_path: Path, schema: Any, said: str) -> None:
    world = World(tmp_path)
    world.deploy("1", world.bundle(features=AREA, schema=schema, decisions=None))
    with working(world) as worker:
        assert set(*ask(worker, [50.5, 2])) == {said, "model", "version"}


def test_a_table_s_missing_and_whole_numbers_are_read_as_such() -> None:
    rows = [payment(1), payment(2, payment=2.0, items=math.nan, card=3.0, note=math.nan, abroad=math.nan)]
    read = from_table(NUMBERS, rows)
    assert read == [payment(1), payment(2, card=3, items=None, abroad=None)]
    assert [type(read[1][name]) for name in ("payment", "card", "amount")] == [int, int, float]
    assert from_table(NUMBERS, [{"items": 1.5, "x": math.inf}]) == [{"items": 1.5, "x": math.inf}]
