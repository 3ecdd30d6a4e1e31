"""What the server answers over HTTP, as a real process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mlops.records import read_decisions, read_labels
from serving.entries import EntryEncoder
from serving.events import EventReader
from serving.lmdb_store import LmdbStore
from serving.plan import StorePlan
from tests.reference import reference_features
from tests.serving.example import EVENTS, FEATURES, LABEL, NUMBERS, ROOT, Server, World, payment, payments


@pytest.mark.parametrize("one_by_one", [True, False], ids=["one by one", "in lists"])
def test_scores_are_the_reference_s_features_through_the_model(world: World, one_by_one: bool) -> None:
    rows = sorted(payments(range(200)), key=lambda row: (row["at"], row["payment"]))
    labels = [
        {"event_id": row["payment"], "label": int(row["payment"] % 3 == 0), "known_at": "2024-03-08T00:00:00"}
        for row in rows
    ]
    with world.server() as server:
        assert server.post("/v1/labels", labels).body == {
            "applied": 0,
            "held": [row["payment"] for row in rows],
        }
        answers = []
        for start in range(0, 200, 1 if one_by_one else 50):
            body = rows[start] if one_by_one else rows[start : start + 50]
            reply = server.post("/v1/score?features=true", body)
            assert reply.status == 200, reply.body
            answers += [reply.body] if one_by_one else reply.body
        unchanged = server.post("/v1/score", rows[0]).body
    expected = reference_features(
        [{**row, "at": datetime.fromisoformat(row["at"])} for row in rows],
        {row["payment"]: row["payment"] % 3 == 0 for row in rows},
        FEATURES,
        EVENTS,
        LABEL,
    )
    assert [list(answer["features"].values()) for answer in answers] == [
        expected[row["payment"]] for row in rows
    ]
    assert [answer["event_id"] for answer in answers] == [row["payment"] for row in rows]
    assert {answer["decision"] for answer in answers} <= {"approve", "review", "decline"}
    assert {(a["model"], a["version"]) for a in answers} == {("example", "1")}
    assert unchanged == {k: v for k, v in answers[0].items() if k != "features"}
    logged = list(read_decisions(world.decisions))
    assert [(d.event_id, d.decision_id, d.score, d.features) for d in logged] == [
        (a["event_id"], a["decision_id"], a["score"], list(a["features"].values())) for a in answers
    ]
    assert logged[0].event == {**rows[0], "at": rows[0]["at"] + "+00:00"}
    assert len(list(read_labels(world.decisions))) == 200


def test_a_repeated_event_gets_its_first_answer_and_counts_once(server: Server) -> None:
    first = server.post("/v1/score?features=true", payment(1000, card=999)).body
    assert server.post("/v1/score?features=true", payment(1000, card=999)).body == first
    again = [payment(1000, card=999), payment(1001, card=999), payment(1001, card=999)]
    replies = server.post("/v1/score?features=true", again).body
    assert replies[0] == first
    assert replies[1] == replies[2]
    assert server.post("/v1/score?features=true", payment(1002, card=999)).body["features"][
        "card_count_7d"
    ] == float(len({1000, 1001, 1002}))


def test_an_offset_is_converted_and_its_absence_means_utc(server: Server) -> None:
    times = ("2024-06-01T23:30:00-05:00", "2024-06-02T04:30:00Z", "2024-06-02 04:30")
    nights = [
        server.post("/v1/score?features=true", payment(2000 + n, at=at)).body["features"]["is_night"]
        for n, at in enumerate(times)
    ]
    assert nights == [1.0, 1.0, 1.0]


MALFORMED: list[tuple[str, object, str | None]] = [
    ("not json", b"{", None),
    ("empty", b"", None),
    ("not utf-8", b'{"payment": "\xff"}', None),
    ("deep", b"[" * 100_000, None),
    ("a number of 5,000 digits", b'{"payment": 1' + b"0" * 5000 + b"}", None),
    ("a number", 3, None),
    ("null", None, None),
    ("a list in a list", [[]], "[0]"),
    ("too many", payments(range(101)), None),
    ("missing", {k: v for k, v in payment(1).items() if k != "card"}, "card"),
    ("missing in a list", [payment(1), {}], "[1].payment"),
    ("null id", payment(1, payment=None), "payment"),
    ("text id", payment(1, payment="x1"), "payment"),
    ("text id with leading zeros", payment(1, payment="01"), "payment"),
    ("text id beyond 64 bits", payment(1, payment="9" * 19), "payment"),
    ("blank id", payment(1, payment=" "), "payment"),
    ("boolean id", payment(1, payment=True), "payment"),
    ("id with a point", payment(1, card=1.0), "card"),
    ("id beyond 64 bits", payment(1, shop=2**63), "shop"),
    ("text amount", payment(1, amount="3"), "amount"),
    ("boolean amount", payment(1, amount=True), "amount"),
    ("list amount", payment(1, amount=[1]), "amount"),
    ("negative amount", payment(1, amount=-0.01), "amount"),
    ("large amount", payment(1, amount=1_000_000.01), "amount"),
    ("NaN amount", json.dumps(payment(1, amount=float("nan"))).encode(), "amount"),
    ("infinite amount", json.dumps(payment(1, amount=float("inf"))).encode(), "amount"),
    ("amount beyond a double", json.dumps(payment(1, amount=777)).replace("777", "1e999").encode(), "amount"),
    ("items with a point", payment(1, items=1.5), "items"),
    ("items beyond 64 bits", payment(1, items=2**63), "items"),
    ("number for a boolean", payment(1, abroad=1), "abroad"),
    ("number for a text", payment(1, note=1), "note"),
    ("long text", payment(1, note="x" * 300), "note"),
    ("half a surrogate pair", json.dumps(payment(1, note="\ud800")).encode(), "note"),
    ("no time", payment(1, at="yesterday"), "at"),
    ("a day", payment(1, at="2024-06-01"), "at"),
    ("a number for a time", payment(1, at=1717200000), "at"),
    ("no such day", payment(1, at="2024-02-30T00:00:00"), "at"),
    ("before the range", payment(1, at="1999-12-31T23:59:59"), "at"),
    ("after the range", payment(1, at="2100-01-01T00:00:01"), "at"),
    ("year 1 with an offset", payment(1, at="0001-01-01T00:00:00+14:00"), "at"),
    ("the label", payment(1, fraud=True), "fraud"),
    ("unknown field", payment(1, colour="red"), "colour"),
]


def test_an_event_is_read_as_validation_reads_a_table(server: Server) -> None:
    as_text = payment(4000, payment=" 4000", card="4000", amount=0.12500000001, note=" ", items=None)
    answer = server.post("/v1/score?features=true", as_text).body
    assert (answer["event_id"], answer["features"]["amount"]) == (4000, 0.13)
    again = payment(4001, card=4000, at=as_text["at"], amount=1)
    counted = server.post("/v1/score?features=true", again).body["features"]
    assert (counted["card_count_1d"], counted["card_mean_amount_1d"]) == (2.0, 113 / 2 / 100)


@pytest.mark.parametrize(
    ("body", "field"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_a_malformed_event_is_a_problem_that_names_the_field(
    server: Server, body: object, field: str | None
) -> None:
    reply = server.post("/v1/score", b"null" if body is None else body)
    assert (reply.status, reply.type) == (422, "application/problem+json")
    assert reply.body["status"] == 422
    assert reply.body.get("field") == field
    if field:
        assert field in reply.body["detail"]


LABELS: list[tuple[object, str | None]] = [
    ({}, None),
    ([1], "[0]"),
    ([{"event_id": 1, "label": 1}], "[0].known_at"),
    ([{"event_id": 1, "label": 2, "known_at": "2024-06-01T00:00:00"}], "[0].label"),
    ([{"event_id": 1, "label": True, "known_at": "2024-06-01T00:00:00"}], "[0].label"),
    ([{"event_id": "x", "label": 1, "known_at": "2024-06-01T00:00:00"}], "[0].event_id"),
    ([{"event_id": 1, "label": 1, "known_at": "soon"}], "[0].known_at"),
    ([{"event_id": 1, "label": 1, "known_at": "2024-06-01T00:00:00", "by": "me"}], "[0].by"),
]


@pytest.mark.parametrize(("body", "field"), LABELS)
def test_a_malformed_label_is_a_problem_that_names_the_field(
    server: Server, body: object, field: str | None
) -> None:
    reply = server.post("/v1/labels", body)
    assert (reply.status, reply.type, reply.body.get("field")) == (422, "application/problem+json", field)


def test_a_request_takes_a_thousand_labels_and_no_more(server: Server) -> None:
    label = {"event_id": 6000, "label": 1, "known_at": "2024-06-01T00:00:00"}
    assert server.post("/v1/labels", [label] * 1000).status == 200
    reply = server.post("/v1/labels", [label] * 1001)
    assert (reply.status, reply.body["detail"]) == (422, "1001 labels in one request; send at most 1000")


def test_a_list_with_one_malformed_event_counts_none_of_them(server: Server) -> None:
    assert server.post("/v1/score", [payment(3000, card=3000), payment(3001, amount=-1)]).status == 422
    counted = server.post("/v1/score?features=true", payment(3002, card=3000)).body["features"]
    assert counted["card_count_7d"] == 1


OTHERS: list[dict[str, Any]] = [
    {"amount": 99_999.00},
    {"card": 6},
    {"at": "2024-03-02T01:15:01"},
    {"note": "x"},
    {"items": None},
]


def test_another_event_under_a_known_id_is_a_conflict_and_not_given_the_first_one_s_answer(
    world: World,
) -> None:
    with world.server() as server:
        first = server.post("/v1/score?features=true", payment(1)).body
        for changes in OTHERS:
            another = payment(1, **changes)
            for body, field in ((another, "payment"), ([payment(2), another], "[1].payment")):
                reply = server.post("/v1/score", body)
                assert (reply.status, reply.type) == (409, "application/problem+json")
                assert (reply.body["status"], reply.body["field"]) == (409, field)
                assert "another event came before under the id 1" in reply.body["detail"]
        assert server.post("/v1/score", [payment(3), payment(3, card=6)]).status == 409
        assert server.post("/v1/score?features=true", payment(1)).body == first
        counted = server.post("/v1/score?features=true", payment(8, card=1, at=payment(1)["at"])).body
        assert counted["features"]["card_count_7d"] == 2
    assert [decision.event_id for decision in read_decisions(world.decisions)] == [1, 8]


def test_the_same_event_written_in_another_way_is_a_repeat(server: Server) -> None:
    first = server.post("/v1/score", payment(5000, amount=1)).body
    same = payment(
        5000, amount=1.001, card=str(payment(5000)["card"]), at=payment(5000)["at"] + "Z", note=" "
    )
    del same["note"]
    backwards = dict(reversed(same.items()))
    assert server.post("/v1/score", [same, backwards, {**same, "note": " "}]).body == [first] * 3


def test_an_id_that_the_history_has_with_another_card_is_a_conflict(world: World) -> None:
    store = LmdbStore(world.store, StorePlan.of(FEATURES, NUMBERS), NUMBERS)
    event = EventReader(NUMBERS).event(payment(1))
    with store.begin() as transaction:
        transaction.append([EntryEncoder(store.plan)(event.id, event.time_us, event.values)])
    store.close()
    with world.server() as server:
        assert server.post("/v1/score", payment(1, card=6)).status == 409
        assert server.post("/v1/score", payment(1)).status == 200


def test_other_routes_methods_and_bodies_too_large_are_problems_too(server: Server) -> None:
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("GET", "/v1/score", 405),
        ("POST", "/readyz", 405),
    ]:
        reply = server.request(method, path)
        assert (reply.status, reply.type, reply.body["status"]) == (
            status,
            "application/problem+json",
            status,
        )
    assert server.post("/v1/score", b" " * (9 * 2**20)).status == 413


def test_the_model_and_its_features_are_described(shared: tuple[World, Server]) -> None:
    model = shared[1].get("/v1/model").body
    assert (model["name"], model["version"], model["framework"]) == ("example", "1", "scikit-learn")
    assert [feature["name"] for feature in model["features"]] == list(FEATURES.names)
    assert model["digest"] == shared[1].get("/readyz").body["digest"]
    assert shared[1].get("/livez").status == 200


def test_a_taken_port_is_one_line_and_exit_code_2(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(world.command(port), cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"127.0.0.1: port {port} is taken; end what listens there, or name another with --port"
    ]


@pytest.mark.parametrize("port", [70000, -1])
def test_a_port_that_is_none_is_one_line_and_exit_code_2(world: World, port: int) -> None:
    ended = subprocess.run(world.command(port), cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert _why(ended.stderr) == f"--port: {port} is not a port; name one from 0 to 65535"


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_missing_key_is_one_line_of_the_log_and_exit_code_2(world: World, format: str) -> None:
    command = world.command(0, "--log-format", format)
    command[command.index("--public-key") + 1] = str(world.home / "nowhere.pem")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    why = f"{world.home / 'nowhere.pem'}: no such file; bundles are signed for a key"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"{why}\n" if format == "text" else _why(ended.stderr) == why


def _why(said: str) -> str:
    """What the one line of the log says."""
    line = json.loads(said)
    assert line["level"] == "CRITICAL"
    return line["message"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_drains_and_ends_it(world: World, number: signal.Signals, code: int) -> None:
    with world.server() as server:
        assert server.post("/v1/score", payment(1)).status == 200
        server.process.send_signal(number)
        assert server.process.wait(timeout=60) == code
    log = (world.home / "serving.log").read_text()
    assert "Traceback" not in log


def test_nothing_that_was_asked_ended_in_the_log_as_an_error(shared: tuple[World, Server]) -> None:
    log: Any = Path(shared[0].home / "serving.log").read_text()
    assert "Traceback" not in log
    assert " ERROR " not in log
