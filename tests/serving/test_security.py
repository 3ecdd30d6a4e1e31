"""A real server asks for keys: it refuses in the right words, follows its file, and gives no key away."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops.api_keys import create_key, load_keys, revoke_key
from mlops.records import read_decisions
from serving.app import ROUTES
from tests.serving.example import ROOT, World, payment
from tests.serving.secured import SCORE, Answer, Secured, bearer, family, serving, until

LABEL = {"event_id": 1, "label": 1, "known_at": "2024-03-20T00:00:00"}


@pytest.fixture
def path(world: World) -> Path:
    return world.home / "access" / "api-keys.json"


def test_each_route_asks_for_its_scope_and_each_refusal_is_a_problem_document(
    world: World, path: Path
) -> None:
    scorer = create_key(path, "scorer", ["score"])
    operator = create_key(path, "operator", ["labels", "admin"])
    expiring = create_key(path, "late", ["score"], expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    with serving(world) as server:
        scored = server.ask("POST", SCORE, payment(1), **bearer(scorer))
        assert scored.status == 200
        decision = scored.body["decision_id"]
        routes = [
            ("POST", SCORE, payment(1), scorer, operator),
            ("GET", f"/v1/decisions/{decision}", None, scorer, operator),
            ("GET", "/v1/model", None, scorer, operator),
            ("POST", "/v1/labels", [LABEL], operator, scorer),
            ("POST", "/v1/admin/reload", None, operator, scorer),
        ]
        for method, route, body, may, may_not in routes:
            answer = server.ask(method, route, body, x_api_key=may)
            assert answer.status == 200, answer.text
            for status, headers, challenge in (
                (401, {}, 'Bearer realm="scoring"'),
                (401, bearer(expiring), 'Bearer realm="scoring", error="invalid_token"'),
                (401, bearer(may[:-1] + "~"), 'Bearer realm="scoring", error="invalid_token"'),
                (403, bearer(may_not), 'Bearer error="insufficient_scope"'),
            ):
                refused = server.ask(method, route, body, **headers)
                assert (refused.status, refused.headers["content-type"]) == (
                    status,
                    "application/problem+json",
                )
                assert refused.headers["www-authenticate"].startswith(challenge)
                assert refused.body["status"] == status
        for route in _free():
            assert server.ask("GET", route).status == 200, route
        digest = server.ask("GET", "/readyz").body["digest"]
        described = {
            who: server.ask("GET", "/openapi.json", **headers)
            for who, headers in (("stranger", {}), ("scorer", bearer(scorer)), ("guest", bearer(expiring)))
        }
        counted = server.ask("GET", "/metrics").text
    (auth,) = re.findall(r'^mlops_rejected_total\{reason="auth"\} (\d+)', counted, re.MULTILINE)
    assert int(auth) == 4 * len(routes)
    for who, answer in described.items():
        assert (answer.body["info"].get("x-model") is not None) == (who == "scorer")
        assert (digest in answer.text) == (who == "scorer")


def test_the_document_has_all_routes_that_are_free() -> None:
    (said,) = re.findall(r"Free to all who reach the port: (.*) \|", (ROOT / "docs/security.md").read_text())
    assert set(re.findall(r"`([^`]+)`", said)) == set(_free())


def _free() -> list[str]:
    return [route.path for route in ROUTES if route.scope is None]


@pytest.mark.parametrize("workers", [1, 2])
def test_who_asks_too_often_gets_429_whichever_worker_answers(world: World, path: Path, workers: int) -> None:
    hasty = create_key(path, "hasty", ["score"], rate_per_second=0.2, burst=8)
    calm = create_key(path, "calm", ["score"])
    with serving(world, "--workers", str(workers)) as server:
        answers = [server.ask("POST", SCORE, payment(n), **bearer(hasty)) for n in range(24)]
        statuses = [answer.status for answer in answers]
        assert statuses == [200] * 8 + [429] * 16
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 5
        assert "0.2 times a second" in answers[-1].body["detail"]
        assert server.ask("POST", SCORE, payment(1), **bearer(calm)).status == 200
        assert 'mlops_rejected_total{reason="rate"} 16' in server.ask("GET", "/metrics").text


def test_keys_are_rotated_under_load_without_a_restart_and_without_a_failure(
    world: World, path: Path
) -> None:
    key = [create_key(path, "acquirer", ["score"])]
    failed: list[str] = []
    asked: list[int] = []
    stop = threading.Event()

    def client(server: Secured, first: int) -> None:
        connection, number = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20), first
        while not stop.is_set():
            number += 1
            answer = Answer.of(connection, "POST", SCORE, payment(number), bearer(key[-1]))
            if answer.status != 200:
                failed.append(f"{answer.status}: {answer.text}")
        asked.append(number - first)
        connection.close()

    with serving(world, "--workers", "2") as server:
        clients = [threading.Thread(target=client, args=(server, 10_000 * n)) for n in range(2)]
        for thread in clients:
            thread.start()
        pid = server.process.pid
        for turn in range(2):
            old, new = key[-1], create_key(path, f"acquirer-{turn}", ["score"])
            time.sleep(1.2)  # every worker has followed the file
            key.append(new)
            time.sleep(0.2)  # what was sent with the old key is answered
            revoke_key(path, load_keys(path)[0].name)
            refused = {"": 0}

            def is_refused(old: str = old, refused: dict[str, int] = refused) -> bool:
                again = server.ask("POST", SCORE, payment(1), **bearer(old)).status == 401
                refused[""] = refused[""] + 1 if again else 0
                return refused[""] >= 8  # by both workers

            until(is_refused)
        stop.set()
        for thread in clients:
            thread.join(timeout=20)
        assert server.process.poll() is None and server.process.pid == pid
    assert failed == []
    assert sum(asked) > 100


def test_a_stranger_cannot_fill_the_memory_with_bodies(world: World, path: Path) -> None:
    """Of many large bodies that never end none is kept: they are refused before they are whole."""
    key = create_key(path, "acquirer", ["score"])
    head = b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n"
    with serving(world) as server:
        worker = family(server.process.pid)[1]
        before = worker.memory_info().rss
        connections = []
        for _ in range(30):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            connections.append(connection)
            with suppress(ConnectionError):  # it is refused while it still sends
                connection.sendall(head + b"\r\n" + b" " * 7_000_000)
        assert (worker.memory_info().rss - before) / 2**20 < 60
        for connection in connections:
            with suppress(ConnectionResetError):
                assert b" 401 " in connection.recv(4096)
            connection.close()
        large = json.dumps([payment(1)]) + " " * 200_000
        assert _raw(server.port, _post(large, key)).startswith("HTTP/1.1 200 ")
        assert _raw(server.port, _post(large, "mlk_unknown")).startswith("HTTP/1.1 401 ")


def test_a_file_that_breaks_leaves_the_keys_in_force_and_is_told(world: World, path: Path) -> None:
    key = create_key(path, "acquirer", ["score"])
    with serving(world) as server:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        until(lambda: "API keys stay as they were" in server.log())
        time.sleep(1.1)
        assert server.ask("POST", SCORE, payment(1), **bearer(key)).status == 200
        assert server.log().count("API keys stay as they were") == 1
        path.write_bytes(whole)
        new = create_key(path, "acquirer-2", ["score"])
        until(lambda: server.ask("POST", SCORE, payment(2), **bearer(new)).status == 200)


def test_no_key_is_in_any_log_answer_metric_or_command_line(world: World, path: Path) -> None:
    key = create_key(path, "acquirer", ["score"], rate_per_second=1, burst=3)
    digest = load_keys(path)[0].sha256
    seen: list[str] = []
    with serving(world, env={"MLOPS_SERVING_LOG_FORMAT": "json"}) as server:
        for body in (payment(1), {"payment": key}, [payment(2) | {"card": None}], payment(3)):
            seen.append(server.ask("POST", SCORE, body, **bearer(key)).text)
        for route, headers in (
            ("/v1/admin/reload", bearer(key)),
            ("/v1/labels", {"x-api-key": key}),
            (SCORE, {"authorization": key}),
            (SCORE, bearer(key + "x")),
            ("/nothing", bearer(key)),
            (SCORE, bearer(key) | {"content-encoding": "gzip"}),
        ):
            seen.append(server.ask("POST", route, payment(4), **headers).text)
        for raw in (
            b"POST /v1/score HTTP/1.1\r\nauthorization: Bearer %b\r\n\x00bad: 1\r\n\r\n",
            b"GET /v1/score HTTP/9.9\r\nx-api-key: %b\r\n\r\n",
        ):
            seen.append(_raw(server.port, raw % key.encode()))
        seen.append(server.ask("GET", "/metrics").text)
        seen.append(server.ask("GET", "/readyz").text)
        lines = [" ".join(process.cmdline()) for process in family(server.process.pid)]
        assert len(lines) >= 2
        path.write_text(json.dumps({"keys": [key]}))
        until(lambda: "API keys stay as they were" in server.log())
    seen += [server.log(), *lines]
    seen += [file.read_text() for file in world.decisions.rglob("*.jsonl")]
    assert len([text for text in seen if "acquirer" in text]) >= 3
    for text in seen:
        assert key not in text and key[4:] not in text and digest not in text


def test_each_decision_is_logged_with_the_name_of_who_asked_for_it(world: World, path: Path) -> None:
    one, two = create_key(path, "one", ["score"]), create_key(path, "two", ["score"])
    with serving(world) as server:
        assert server.ask("POST", SCORE, payment(1), **bearer(one)).status == 200
        assert server.ask("POST", SCORE, [payment(2), payment(3)], **bearer(two)).status == 200
        assert server.ask("POST", SCORE, payment(1), **bearer(two)).status == 200
    logged = [(decision.event_id, decision.caller) for decision in read_decisions(world.decisions)]
    assert logged == [(1, "one"), (2, "two"), (3, "two")]


def test_calls_of_administration_are_in_the_audit_log(world: World, path: Path) -> None:
    operator = create_key(path, "operator", ["admin"])
    scorer = create_key(path, "scorer", ["score"])
    broken, _ = world.bundle("broken", golden_shift=0.3)
    with serving(world, "--poll-seconds", "60") as server:
        named = {"x_request_id": "change-7"}
        assert server.ask("POST", "/v1/admin/reload", **bearer(operator), **named).status == 200
        assert server.ask("POST", "/v1/admin/reload", **bearer(scorer)).status == 403
        world.deploy("2", (broken, _))
        assert server.ask("POST", "/v1/admin/reload", **bearer(operator)).status == 409
        assert server.ask("POST", "/v1/admin/reload").status == 401
    lines = [json.loads(line) for file in world.decisions.glob("audit-*.jsonl") for line in file.open()]
    assert [(line["caller"], line["peer"]) for line in lines] == [
        ("operator", "127.0.0.1"),
        ("scorer", "127.0.0.1"),
        ("operator", "127.0.0.1"),
    ]
    assert lines[0]["request_id"] == "change-7" and "1" in lines[0]["outcome"]
    assert lines[1]["outcome"].startswith("refused")
    assert {line["action"] for line in lines} == {"/v1/admin/reload"}
    assert "refused" in lines[2]["outcome"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_keys_only_loopback_is_served(world: World, host: str) -> None:
    line = [*(word for word in world.command() if word != "--no-keys"), "--host", host]
    open_ = subprocess.run([*line, "--no-keys"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert open_.returncode == 2 and "--no-keys" in open_.stderr and "Traceback" not in open_.stderr
    unsaid = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert unsaid.returncode == 2 and "--keys" in unsaid.stderr


def test_a_server_does_not_start_with_a_file_that_holds_no_keys(world: World, path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"keys": [')
    line = [*(word for word in world.command() if word != "--no-keys"), "--keys", str(path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "not a file of API keys" in done.stderr and "Traceback" not in done.stderr


def test_a_file_of_keys_that_everybody_can_write_to_is_told_once_at_the_start(
    world: World, path: Path
) -> None:
    create_key(path, "till", ["score"])
    warning = f"{path}: everybody can write to it, and so make a key; chmod o-w"
    for mode, times in ((0o660, 0), (0o666, 1)):
        path.chmod(mode)
        with world.server("--keys", str(path)) as server:
            assert server.get("/livez").status == 200
        assert (world.home / "serving.log").read_text().count(warning) == times


UNPICKLED = """
import os, sys
out = os.open(os.environ["UNPICKLED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
sys.addaudithook(lambda event, args: os.write(out, repr(args).encode()) if event == "pickle.find_class" else None)
os.write(out, b"watching\\n")
"""


def test_nothing_is_unpickled_from_start_to_score_reload_and_end(
    world: World, path: Path, tmp_path: Path
) -> None:
    key = create_key(path, "all", ["score", "labels", "admin"])
    hook, found = tmp_path / "hook", tmp_path / "unpickled"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(UNPICKLED)
    with serving(world, env={"PYTHONPATH": str(hook), "UNPICKLED": str(found)}) as server:
        assert server.ask("POST", SCORE + "?features=true", payment(1), **bearer(key)).status == 200
        world.deploy("2", world.bundle("second", seed=3))
        assert server.ask("POST", "/v1/admin/reload", **bearer(key)).body["version"] == "2"
        assert (
            server.ask(
                "POST",
                "/v1/labels",
                [LABEL],
                **bearer(key),
            ).status
            == 200
        )
    assert set(found.read_text().splitlines()) == {"watching"}
    names = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    sources = [source for folder in ("serving", "mlops") for source in (ROOT / folder).rglob("*.py")]
    pattern = re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(names)})\b", re.MULTILINE)
    assert [str(source) for source in sources if pattern.search(source.read_text())] == []


def _post(body: str, key: str) -> bytes:
    head = f"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nauthorization: Bearer {key}\r\n"
    return f"{head}connection: close\r\n\r\n{body}".encode()


def _raw(port: int, data: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
