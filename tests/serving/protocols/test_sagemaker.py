"""SageMaker's container contract, by the examples of its documents; its own client asks in tests/system."""

from __future__ import annotations

import http.client
from typing import Any

import msgspec
import pytest

from mlops.records import read_decisions
from tests.serving.example import FEATURES, Server, World, payment, payments
from tests.serving.protocols.asking import ROWS

NAMES = FEATURES.names
CSV = {"content-type": "text/csv"}


def asked(server: Server, body: object, **headers: str) -> tuple[int, str, str]:
    """Status, type and text of what `/invocations` answers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    connection.request("POST", "/invocations", data, {n.replace("_", "-"): v for n, v in headers.items()})
    response = connection.getresponse()
    found = response.status, response.headers["content-type"], response.read().decode()
    connection.close()
    return found


def test_ping_is_answered_with_nothing_in_it(server: Server) -> None:
    assert server.text("/ping") == ""
    reply = server.get("/ping")
    assert (reply.status, reply.body) == (200, None)


def test_csv_of_features_gets_a_score_a_line_in_csv(server: Server) -> None:
    scores = server.post("/v1/predict", {"features": ROWS}).body["scores"]
    body = "\n".join(",".join(map(str, row)) for row in ROWS).encode()
    status, type_, text = asked(server, body, content_type="text/csv", accept="text/csv")
    assert (status, type_) == (200, "text/csv; charset=utf-8")
    assert [float(line) for line in text.splitlines()] == scores
    assert msgspec.json.decode(asked(server, body, content_type="text/csv")[2]) == {"predictions": scores}


@pytest.mark.parametrize(
    "type_", ["text/csv;charset*0=a;charset*=b", 'TEXT/CSV ; Charset="UTF-8"', "text/csv;header;;=;header*=1"]
)
def test_a_type_is_read_with_whatever_parameters(server: Server, type_: str) -> None:
    body = ",".join(map(str, ROWS[0])).encode()
    assert asked(server, body, content_type=type_)[0] == 200


def test_csv_of_events_gets_id_decision_id_score_and_decision(shared: tuple[World, Server]) -> None:
    world, server = shared
    body = b"payment,at,card,shop,amount\n501,2024-03-05T10:00:00,1,2,7.25\n502,2024-03-05T11:00:00Z,1,2,8\n"
    status, _, text = asked(server, body, content_type="text/csv; header=present", accept="text/csv")
    assert status == 200
    answered = [line.split(",") for line in text.splitlines()]
    logged = {decision.decision_id: decision for decision in read_decisions(world.decisions)}
    for number, (event_id, decision_id, score, decision) in enumerate(answered):
        assert event_id == str(501 + number)
        assert float(score) == logged[decision_id].score
        assert decision == logged[decision_id].decision


def test_json_is_answered_in_the_shape_that_it_came_in(server: Server) -> None:
    scores = server.post("/v1/predict", {"features": ROWS}).body["scores"]
    assert msgspec.json.decode(asked(server, ROWS)[2]) == scores
    assert msgspec.json.decode(asked(server, dict(zip(NAMES, ROWS[1], strict=True)))[2]) == scores[1]
    events = payments(range(510, 513))
    answers = [
        {name: value for name, value in answer.items() if name != "features"}
        for answer in server.post("/v1/score", events).body
    ]
    assert msgspec.json.decode(asked(server, events)[2]) == answers
    assert msgspec.json.decode(asked(server, events[0])[2]) == answers[0]
    assert msgspec.json.decode(asked(server, {"instances": events})[2]) == {"predictions": answers}
    assert asked(server, [])[2] == "[]"


@pytest.mark.parametrize(
    ("accept", "type_"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/*", "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8"),
        ("text/csv;q=0, */*", "application/json"),
        ("*/*;q=0.1, text/csv", "text/csv; charset=utf-8"),
        ("text/csv, application/json", "application/json"),
        ("", "application/json"),
        ("text/csv;q*0=a;q*=b;q*1=c", "text/csv; charset=utf-8"),
        ('text/csv; Q="0.2", application/json;q=0.1;', "text/csv; charset=utf-8"),
    ],
)
def test_the_accepted_type_is_answered(server: Server, accept: str, type_: str) -> None:
    assert asked(server, ROWS, accept=accept)[:2] == (200, type_)


@pytest.mark.parametrize("accept", ["application/x-npy", "text/csv;q=0", "image/*, text/html"])
def test_what_cannot_be_accepted_is_told_before_anything_is_scored(
    shared: tuple[World, Server], accept: str
) -> None:
    world, server = shared
    before = len(list(read_decisions(world.decisions)))
    assert asked(server, payment(530), accept=accept)[0] == 406
    assert len(list(read_decisions(world.decisions))) == before


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x", {"content_type": "application/x-recordio-protobuf"}, 415),
        (b"a,b", {"content_type": "text/csv; charset=utf-16"}, 415),
        (b"a,b", {"content_type": "text/csv;charset=" + '";' * 15_000}, 431),
        (b"a,b", CSV | {"accept": '";' * 15_000}, 431),
        (b'"', CSV, 422),
        (b"neither,nor\n1,2\n", {"content_type": "text/csv"}, 422),
        (b"17", {}, 422),
        (b"{}", {}, 422),
        (b"\xff", {}, 422),
        (b'{"instances":[{"amount":1,"amount":2}]}', {}, 422),
        (b"1\n" * 1_002, {"content_type": "text/csv"}, 422),
        (b'{"dataframe_split":{"columns":["amount"],"data":[' + b"[1]," * 1_000 + b"[1]]}}", {}, 422),
        (b"[" + b"[1]," * 1_000 + b"[1]]", {}, 422),
        (b'{"inputs":{"amount":[' + b"1," * 1_000 + b"1]}}", {}, 422),
    ],
)
def test_what_does_not_fit_is_a_problem(
    server: Server, body: bytes, headers: dict[str, Any], status: int
) -> None:
    found = asked(server, body, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert found[:2] == (status, "application/problem+json")


def test_a_repeat_gets_its_first_answer_whatever_the_type(server: Server) -> None:
    first = msgspec.json.decode(asked(server, payment(540))[2])
    body = (
        b"payment,at,card,shop,amount,items,abroad,note\n"
        + ",".join("" if value is None else str(value) for value in payment(540).values()).encode()
    )
    answered = asked(server, body, content_type="text/csv", accept="text/csv")[2].strip().split(",")
    assert answered == ["540", first["decision_id"], repr(first["score"]), first["decision"]]


def test_a_member_that_is_there_twice_is_named_and_a_text_with_a_quotation_mark_is_fine(
    server: Server,
) -> None:
    twice = msgspec.json.encode(payment(541)).replace(b'"amount":', b'"amount":1,"amount":')
    status, _, said = asked(server, b'{"instances":[' + twice + b"]}")
    assert (status, msgspec.json.decode(said)["field"]) == (422, "amount")
    assert asked(server, payment(541, note='the "big" one'))[0] == 200


def test_more_rows_than_are_taken_are_not_looked_at(server: Server) -> None:
    body = b"1\n" * 1_000_000
    status, _, said = asked(server, body, content_type="text/csv")
    assert (status, msgspec.json.decode(said)["detail"]) == (
        422,
        "1002 rows in one request; send at most 1000",
    )


def test_one_event_may_have_its_numbers_as_data_frames_do(server: Server) -> None:
    whole, floats = asked(server, payment(542)), asked(server, payment(542, payment=542.0))
    assert (whole[0], floats) == (200, whole)
    status, _, said = asked(server, payment(543, payment=2.0**53 + 2))  # or another one's, to a double
    assert status == 422 and "payment" in msgspec.json.decode(said)["field"]
