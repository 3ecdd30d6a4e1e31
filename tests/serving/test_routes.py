"""What the routes besides plain scoring promise, from a real server."""

from __future__ import annotations

import http.client
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from mlops.bundle import open_bundle
from mlops.model import open_model
from mlops.records import read_decisions
from mlops.signing import PUBLIC_KEY
from tests.serving.example import FEATURES, Server, World, payment, payments


def raw(server: Server, method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
    """An answer with its headers: (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    found = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    connection.close()
    return found


def test_bare_features_get_the_model_s_score_and_nothing_is_logged(shared: tuple[World, Server]) -> None:
    world, server = shared
    rows = [[0.5 * n + m for m in range(len(FEATURES.names))] for n in range(3)]
    model = open_model(open_bundle(world.home / "bundles" / "first", public_key=world.keys / PUBLIC_KEY))
    expected = [float(score) for score in model(np.array(rows, np.float32))]
    before = len(list(read_decisions(world.decisions)))
    reply = server.post("/v1/predict", {"features": rows})
    assert (reply.status, reply.body) == (200, {"scores": expected, "model": "example", "version": "1"})
    assert server.post("/v1/predict", {"features": []}).body["scores"] == []
    assert len(list(read_decisions(world.decisions))) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b"{}", None),
        (b'{"features": [["a"]]}', "features[0][0]"),
        (b'{"features": [[NaN]]}', "features[0][0]"),
        (b'{"features": [[1, 2], [3, 4, 5, -Infinity]]}', "features[1][3]"),
        (b'{"features": [[1, 1e400]]}', "features[0][1]"),
        (b'{"features": [[NaN, "a"]]}', "features[0][1]"),
        (b'{"features": [], "features": []}', "features"),
        (b'{"features": [], "more": 1}', None),
        (msgspec.json.encode({"features": [[1.0]]}), "features[0]"),
        (msgspec.json.encode({"features": [[1e300] * len(FEATURES.names)]}), FEATURES.names[0]),
        (msgspec.json.encode({"features": [[1.0]] * 1001}), "features"),
    ],
)
def test_features_that_do_not_fit_are_a_problem(server: Server, body: bytes, field: str | None) -> None:
    reply = server.post("/v1/predict", body)
    assert (reply.status, reply.type) == (422, "application/problem+json")
    assert reply.body.get("field") == field


def test_a_decision_is_found_under_its_id_also_by_text_ids_and_after_a_restart(world: World) -> None:
    world.deploy("1", world.bundle())
    with world.server() as server:
        answers = server.post("/v1/score?features=true", payments(range(5))).body
        assert [server.get(f"/v1/decisions/{a['decision_id']}").body for a in answers] == answers
    with world.server() as server:
        assert [server.get(f"/v1/decisions/{a['decision_id']}").body for a in answers] == answers


@pytest.mark.parametrize("id_", ["x", "0" * 32, "0" * 32 + "-AQAAAAAAAAAA", "%00", "0" * 32 + "-%F0", "é"])
def test_an_unknown_decision_is_not_found(server: Server, id_: str) -> None:
    server.post("/v1/score", payment(70))
    assert raw(server, "GET", "/v1/decisions/" + id_.replace("é", "%C3%A9"), b"", {})[0] == 404


def test_another_s_random_digits_do_not_open_a_decision(server: Server) -> None:
    one, other = (server.post("/v1/score", payment(n)).body["decision_id"] for n in (80, 81))
    assert server.get(f"/v1/decisions/{one[:32]}{other[32:]}").status == 404


def test_reasons_come_on_request_and_are_the_bundle_s(server: Server) -> None:
    plain = server.post("/v1/score", payment(100)).body
    with_reasons = server.post("/v1/score?reasons=true", payment(100)).body
    reasons = with_reasons.pop("reasons")
    assert with_reasons == plain
    assert 1 <= len(reasons) <= 3
    for reason in reasons:
        assert reason["feature"] in FEATURES.names
        assert set(reason) == {"feature", "value", "contribution", "text"}
    both = server.post("/v1/score?features=true&reasons=true", [payment(100), payment(101)]).body
    assert [set(answer) >= {"features", "reasons"} for answer in both] == [True, True]
    assert both[0]["reasons"] == reasons
    assert server.post("/v1/score?reasons=true", payments(range(200, 211))).status == 422


def test_a_request_s_id_is_kept_if_it_is_one_and_made_if_not(server: Server) -> None:
    kept = raw(server, "GET", "/livez", b"", {"x-request-id": "a-b.c/1"})[1]["x-request-id"]
    assert kept == "a-b.c/1"
    made = {
        raw(server, "GET", "/livez", b"", headers)[1]["x-request-id"]
        for headers in ({}, {"x-request-id": "a b"}, {"x-request-id": "x" * 65}, {"x-request-id": "\xe9"})
    }
    assert len(made) == 4
    assert all(len(id_) < 64 for id_ in made)


def test_an_event_from_far_in_the_future_is_refused_and_one_from_tomorrow_is_not(server: Server) -> None:
    now = datetime.now(UTC)
    near, far = (now + timedelta(hours=hours) for hours in (23, 25))
    assert server.post("/v1/score", payment(300, at=near.isoformat())).status == 200
    reply = server.post("/v1/score", [payment(301), payment(302, at=far.isoformat())])
    assert (reply.status, reply.body["field"]) == (422, "[1].at")
    here = re.search(
        r"is in the future; it is (\S+) here, and at most 24 h ahead is taken$", reply.body["detail"]
    )
    assert here and abs(datetime.fromisoformat(here[1]) - now) < timedelta(minutes=1)
    assert server.post("/v1/score", payment(302, at=far.isoformat())).body["field"] == "at"


def test_a_list_of_one_names_the_place_too(server: Server) -> None:
    assert server.post("/v1/score", [payment(310, at="2099-01-01T00:00:00Z")]).body["field"] == "[0].at"
    label = {"event_id": 1, "label": 1, "known_at": "2099-01-01T00:00:00Z"}
    reply = server.post("/v1/labels", [label])
    assert (reply.status, reply.body["field"]) == (422, "[0].known_at")


@pytest.mark.parametrize(
    ("said", "there"), [("true", True), ("True", True), ("%74rue", True), ("false", False)]
)
def test_a_flag_is_read_however_it_is_written(server: Server, said: str, there: bool) -> None:
    assert ("features" in server.post(f"/v1/score?features={said}", payment(320)).body) == there


@pytest.mark.parametrize("said", ["1", "", "yes"])
def test_a_flag_that_says_neither_is_a_problem(server: Server, said: str) -> None:
    reply = server.post(f"/v1/score?features={said}", payment(321))
    assert (reply.status, reply.body["field"]) == (422, "features")


@pytest.mark.parametrize(
    ("query", "name", "hint"),
    [
        ("feature=true", "feature", "did you mean features?"),
        ("features=true&Reasons=true", "Reasons", "did you mean reasons?"),
        ("explain=1", "explain", "there are features and reasons"),
        ("=true", None, "there are features and reasons"),
    ],
)
def test_a_parameter_that_is_not_known_is_named_and_the_nearest_one_too(
    server: Server, query: str, name: str | None, hint: str
) -> None:
    reply = server.post(f"/v1/score?{query}", payment(322))
    assert (reply.status, reply.body.get("field")) == (422, name)
    assert reply.body["detail"].endswith(f"is not a parameter; {hint}")


@pytest.mark.parametrize("query", ["features=true&features=false", "reasons=true&features=true&reasons=true"])
def test_a_parameter_that_is_there_twice_is_refused(server: Server, query: str) -> None:
    reply = server.post(f"/v1/score?{query}", payment(323))
    assert (reply.status, reply.body["field"]) == (422, query.partition("=")[0])
    assert reply.body["detail"].endswith("is there twice; leave one out")


def test_a_feature_has_the_same_value_in_the_features_and_in_the_reasons(server: Server) -> None:
    amounts = [f"{at}.58" for at in (86, 3, 950)]
    rows = [payment(330 + at, amount=float(amount)) for at, amount in enumerate(amounts)]
    answers = server.post("/v1/score?features=true&reasons=true", rows).body
    assert any(answer["reasons"] for answer in answers)
    for answer in answers:
        for reason in answer["reasons"]:
            assert reason["value"] == answer["features"][reason["feature"]]


def test_a_conflict_in_a_list_names_its_place(server: Server) -> None:
    assert server.post("/v1/score", payments(range(340, 343))).status == 200
    other = payment(341, amount=99)
    reply = server.post("/v1/score", [payment(340), other, payment(342)])
    assert (reply.status, reply.body["field"]) == (409, "[1].payment")
    assert server.post("/v1/score", other).body["field"] == "payment"
    twice = [payment(343), payment(344), payment(343, amount=1)]
    reply = server.post("/v1/score", twice)
    assert (reply.status, reply.body["field"]) == (409, "[2].payment")
    assert server.post("/v1/score", twice[:2]).status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"payment": "\xff"}', "it is not UTF-8 at byte 13"),
        (b'{"amount": ' + b"9" * 5000 + b"}", "a number has more than 4300 digits"),
        (b'{"amount": }', "Expecting value at character 11"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/score", "/v1/labels"])
def test_it_is_said_why_a_body_is_not_json(server: Server, path: str, body: bytes, said: str) -> None:
    reply = server.post(path, body)
    assert (reply.status, reply.body["detail"]) == (422, f"the body is not JSON: {said}")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/score", b'{"payment": 350, "amount": 1, "amount": 2, %s}', "amount"),
        ("/v1/score", b'{"payment": 350, "\\u0061mount": 1, "amount": 2, %s}', "amount"),
        ("/v1/score", b'{"payment": 350, "amount": "1", "amount" : 2, %s}', "amount"),
        ("/v1/score", b'[{"payment": 351, "amount": 1, %s}, {"payment": 350, "amount": 1, "payment": 352, %s}]',
         "[1].payment"),
        ("/v1/labels", b'[{"event_id": 1, "label": 0, "known_at": "2024-03-01T00:00:00", "label": 1}]',
         "[0].label"),
    ],
)  # fmt: skip
def test_a_member_that_is_there_twice_is_refused(server: Server, path: str, body: bytes, field: str) -> None:
    rest = b'"at": "2024-03-01T00:00:00", "card": 1, "shop": 1'
    reply = server.post(path, body.replace(b"%s", rest))
    assert (reply.status, reply.body["field"]) == (422, field)
    assert "is there twice" in reply.body["detail"]


def test_quotation_marks_and_objects_within_an_event_are_no_members_of_it(server: Server) -> None:
    event = payment(355, note='say "amount": "1"', extra={"amount": 1, "deep": [{"a": "b"}, "c"]})
    reply = server.post("/v1/score", event)
    assert (reply.status, reply.body.get("field")) == (422, "extra")
    del event["extra"]
    assert server.post("/v1/score", event).status == 200


@pytest.mark.parametrize("path", ["/v1/score", "/v1/labels"])
def test_a_field_whose_name_is_no_unicode_is_named_all_the_same(server: Server, path: str) -> None:
    body = b'{"\\ud800": 1, "event_id": 1, "label": 1, "known_at": "2024-01-01T00:00:00"}'
    reply = server.post(path, body if path == "/v1/score" else b"[" + body + b"]")
    assert reply.status == 422


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_json_is_utf_8_and_nothing_else(server: Server, encoding: str) -> None:
    body = msgspec.json.encode(payment(330, note="é")).decode().encode(encoding)
    assert server.post("/v1/score", body).status == 422


def test_a_compressed_body_is_refused(server: Server) -> None:
    status, headers, _ = raw(server, "POST", "/v1/score", b"\x1f\x8b", {"content-encoding": "gzip"})
    assert (status, headers["accept-encoding"]) == (415, "identity")


def test_what_is_allowed_is_said_where_a_method_is_not(server: Server) -> None:
    status, headers, _ = raw(server, "GET", "/v1/score", b"", {})
    assert (status, headers["allow"]) == (405, "POST")


def test_reasons_wait_in_a_queue_with_an_end(world: World) -> None:
    world.deploy("1", world.bundle())
    statuses: list[int] = []

    def ask(server: Server, start: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for number in range(start, start + 5):
            events = payments(range(number * 10, number * 10 + 10))
            connection.request("POST", "/v1/score?reasons=true", msgspec.json.encode(events))
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()

    with world.server("--queue", "20") as server:
        threads = [threading.Thread(target=ask, args=(server, 100 * n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.post("/v1/score?reasons=true", payment(1)).status == 200
    assert set(statuses) == {200, 503}


def test_labels_wait_in_a_queue_with_an_end_while_events_are_scored(world: World) -> None:
    world.deploy("1", world.bundle())
    found: list[tuple[int, str | None]] = []
    over = threading.Event()
    body = msgspec.json.encode(
        [{"event_id": n, "label": 1, "known_at": "2024-03-12T00:00:00"} for n in range(1000)]
    )

    def flood(server: Server) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not over.is_set():
            connection.request("POST", "/v1/labels", body)
            response = connection.getresponse()
            response.read()
            found.append((response.status, response.getheader("retry-after")))
        connection.close()

    with world.server("--queue", "25") as server:  # two lists of labels
        threads = [threading.Thread(target=flood, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        scored = [server.post("/v1/score", payment(number)).status for number in range(30)]
        over.set()
        for thread in threads:
            thread.join()
        assert server.request("POST", "/v1/labels", body).status == 200
        rejected = _counted(server)['mlops_rejected_total{reason="queue"}']
    assert set(scored) == {200}
    assert set(found) == {(200, None), (503, "1")}
    assert rejected == sum(status == 503 for status, _ in found)


def test_beyond_the_queue_events_are_turned_away_and_told_when_to_come_again(world: World) -> None:
    world.deploy("1", world.bundle())
    found: list[tuple[int, str | None]] = []

    def flood(server: Server, start: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for number in range(start, start + 20):
            connection.request(
                "POST", "/v1/score", msgspec.json.encode(payments(range(number * 50, number * 50 + 50)))
            )
            response = connection.getresponse()
            response.read()
            found.append((response.status, response.getheader("retry-after")))
        connection.close()

    with world.server("--queue", "10") as server:
        threads = [threading.Thread(target=flood, args=(server, 1000 * n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.get("/livez").status == 200
    assert {status for status, _ in found} == {200, 503}
    assert {again for status, again in found if status == 503} == {"1"}
    answered = sum(status == 200 for status, _ in found)
    assert len(list(read_decisions(world.decisions))) == 50 * answered


def test_metrics_count_what_was_asked(shared: tuple[World, Server]) -> None:
    _, server = shared
    before = _counted(server)
    for _ in range(3):
        server.post("/v1/predict", {"features": []})
    server.get("/nothing")
    after = _counted(server)
    assert after['mlops_requests_total{route="/v1/predict",status="200"}'] == 3 + before.get(
        'mlops_requests_total{route="/v1/predict",status="200"}', 0
    )
    assert after['mlops_requests_total{route="other",status="404"}'] >= 1


def _counted(server: Server) -> dict[str, float]:
    text = raw(server, "GET", "/metrics", b"", {})[2].decode()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[:1] not in ("#", "")
    }
