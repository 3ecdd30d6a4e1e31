"""A server is a supervisor and its workers: what each of them does when another ends, in whatever way."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil
import pytest

from mlops.api_keys import create_key
from mlops.records import read_decisions
from pipelines.ports import free_port
from tests.serving.example import ROOT, Server, World, payment
from tests.serving.supervised import answers, changed, ended, loads, log_of, until

HEAVY = {"numpy", "onnxruntime", "asyncio", "uvloop", "cryptography", "lmdb", "redis"}


def test_the_supervisor_imports_nothing_that_could_fail_or_takes_time() -> None:
    code = "import json, sys, serving.__main__; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=30)
    assert not HEAVY & set(json.loads(ran.stdout))


def test_a_killed_worker_is_replaced_and_only_what_it_had_in_hand_is_lost(world: World) -> None:
    acknowledged: dict[int, str] = {}
    failed: list[int] = []
    stop = threading.Event()

    with world.server("--workers", "2") as server:

        def send(offset: int) -> None:
            client = Server(server.process, str(server.port))
            number = offset
            while not stop.is_set():
                try:
                    reply = client.post("/v1/score", payment(number))
                    assert reply.status == 200
                    acknowledged[number] = reply.body["decision_id"]
                    number += 4
                except (OSError, http.client.HTTPException):
                    failed.append(number)  # and it is sent again
                    client = Server(server.process, str(server.port))

        threads = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(acknowledged) > 100 and loads(world) == 2, 30)
        victim, other = server.workers()
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: loads(world) == 3)
        took = time.monotonic() - killed
        reached = len(acknowledged)
        until(lambda: len(acknowledged) > reached + 100)
        stop.set()
        for thread in threads:
            thread.join()
        assert other in server.workers() and victim not in server.workers()
        metrics = server.text("/metrics")
    assert took < 30  # half a second where nothing else runs
    assert len(failed) <= 4  # one a connection
    logged = {decision.event_id: decision.decision_id for decision in read_decisions(world.decisions)}
    assert {number: logged.get(number) for number in acknowledged} == acknowledged
    assert re.search(
        rf"worker \d \(pid {victim}\) was ended by signal 9; another is started at once", log_of(world)
    )
    assert "mlops_worker_restarts_total 1.0" in metrics


def test_with_one_worker_who_comes_while_it_is_replaced_waits_and_is_answered(world: World) -> None:
    with world.server() as server:
        (victim,) = server.workers()
        os.kill(victim, signal.SIGKILL)
        client = Server(server.process, str(server.port))
        assert client.post("/v1/score", payment(1)).status == 200
        assert server.workers() != [victim]


def test_workers_that_fail_at_once_are_started_later_and_later_until_the_cause_is_mended(
    world: World,
) -> None:
    keys = world.home / "api-keys.json"
    key = create_key(keys, "till", ["score"])
    good = keys.read_bytes()
    with world.server("--keys", str(keys)) as server:
        keys.write_bytes(b"{")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: "another is started in 0.5 s" in log_of(world))
        assert server.process.poll() is None
        keys.write_bytes(good)
        client = Server(server.process, str(server.port))
        reply = client.request("POST", "/v1/score", payment(1), {"x-api-key": key})
        assert reply.status == 200
    log = log_of(world)
    assert "ended by signal 9; another is started at once" in log
    assert "ended with exit code 2; another is started in 0.25 s" in log
    assert "api-keys.json" in log and "Traceback" not in log and key not in log


def test_it_says_that_it_was_told_to_end_and_that_it_has(world: World) -> None:
    with world.server("--workers", "2", "--drain-seconds", "0.2"):
        until(lambda: loads(world) == 2, 30)
    told, ended_ = log_of(world).splitlines()[-2:]
    assert told.endswith("told to end by SIGTERM: draining for 0.2 s, and 10 s at most after that")
    assert ended_.endswith(" serving.supervisor: ended")


def test_a_worker_that_is_told_to_end_drains_and_another_takes_its_place(world: World) -> None:
    with world.server() as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGTERM)
        until(lambda: ended(worker))
        assert Server(server.process, str(server.port)).post("/v1/score", payment(1)).status == 200
        assert "ended with exit code 0; another is started at once" in log_of(world)


def test_without_its_supervisor_a_worker_drains_and_ends(world: World) -> None:
    with world.server("--workers", "2") as server:
        workers = server.workers()
        assert server.post("/v1/score", payment(1)).status == 200
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: all(map(ended, workers)))
    assert "Traceback" not in log_of(world)


def test_a_worker_whose_supervisor_died_while_it_started_ends_as_well(world: World) -> None:
    process = subprocess.Popen(
        world.command(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: psutil.Process(process.pid).children())
    (worker,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait(timeout=60)
    until(lambda: ended(worker.pid))


@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_rolling_update_nothing_is_lost(world: World, workers: int) -> None:
    """Clients go to the next server when the old one says that it ends, as those behind a balancer do."""
    with ExitStack() as stack:
        old = stack.enter_context(world.server("--workers", str(workers), "--drain-seconds", "1"))
        new = stack.enter_context(world.server("--workers", str(workers)))
        going_to = [old.port]
        stop, lost = threading.Event(), []
        answered: dict[int, int] = {}

        def send(offset: int) -> None:
            connection: http.client.HTTPConnection | None = None
            number = offset
            while not stop.is_set():
                port = going_to[0]
                if connection is None or connection.port != port:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                try:
                    connection.request("POST", "/v1/score", msgspec.json.encode(payment(number)))
                    response = connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException) as error:
                    lost.append((number, port == old.port, error))
                    return
                assert response.status == 200
                answered[number] = port
                if response.headers.get("connection") == "close":
                    connection.close()
                    connection = None
                number += 4

        threads = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(answered) > 200)
        old.process.terminate()
        until(lambda: _not_ready(old))  # as the balancer learns
        going_to[0] = new.port
        until(lambda: old.process.poll() is not None)
        reached = len(answered)
        until(lambda: len(answered) > reached + 100)
        stop.set()
        for thread in threads:
            thread.join()
        assert old.process.returncode == 0
    assert lost == []
    logged = {decision.event_id for decision in read_decisions(world.decisions)}
    assert answered.keys() <= logged


def _not_ready(server: Server) -> bool:
    ready = Server(server.process, str(server.port)).get("/readyz")
    return ready.status == 503 and ready.body["draining"] is True


def test_interrupted_twice_it_still_drains_and_ends_with_130_and_no_traceback(world: World) -> None:
    with world.server("--drain-seconds", "0.3") as server:
        assert server.post("/v1/score", payment(1)).status == 200
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert server.process.wait(timeout=60) == 130
    assert "Traceback" not in log_of(world)


def test_ctrl_c_at_a_terminal_reaches_the_supervisor_only(world: World) -> None:
    with world.server("--drain-seconds", "0.3", start_new_session=True) as server:
        for _ in range(2):
            os.killpg(server.process.pid, signal.SIGINT)
            time.sleep(0.05)
        assert server.process.wait(timeout=60) == 130
    assert "Traceback" not in log_of(world)


def test_a_worker_that_hangs_is_ended_when_its_time_is_over(world: World) -> None:
    with world.server("--grace-seconds", "0") as server:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0
        assert ended(worker)
    assert f"(pid {worker}) did not end in time" in log_of(world)


def test_a_worker_that_hangs_is_replaced(world: World) -> None:
    command = [*changed(LOOK_S=2.0), *world.command(0, "--workers", "2")[3:]]
    with world.server(args=command) as server:
        until(lambda: loads(world) == 2, 30)
        time.sleep(
            2
        )  # until both have said that they are ready: one that has not is given all the time it needs
        hanging, _ = server.workers()
        os.kill(hanging, signal.SIGSTOP)
        until(lambda: ended(hanging) and len(server.workers()) == 2, 60)
    log = log_of(world)
    assert f"(pid {hanging}) hangs and is ended" in log
    assert log.count("hangs") == 1


def test_the_password_of_the_store_is_on_no_command_line_and_in_no_log(tmp_path: Path) -> None:
    world = World(tmp_path)
    command = world.command()
    at = command.index("--store")
    del command[at : at + 2]
    env = {**os.environ, "MLOPS_STORE": "redis://:s3cret@127.0.0.1:9/0"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("serving no model yet on http://127.0.0.1:")
        world.deploy("1", world.bundle())
        server = Server(process, line.rsplit(":", 1)[1])
        refused = server.wait_for("store", ...)
        lines = [
            " ".join(p.cmdline())
            for p in (psutil.Process(process.pid), *psutil.Process(process.pid).children())
        ]
        assert len(lines) == 2
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()
    assert "s3cret" not in "".join(lines) + str(refused) + (tmp_path / "log").read_text() + line


def test_it_needs_no_home_and_no_place_for_temporary_files(world: World) -> None:
    env = {"PATH": os.environ["PATH"], "TMPDIR": "/nowhere", "TMP": "/nowhere", "TEMP": "/nowhere"}
    with world.server("--workers", "2", env=env) as server:
        assert server.post("/v1/score", payment(1)).status == 200
    assert "Traceback" not in log_of(world)


@pytest.mark.linux
def test_it_raises_the_limit_of_open_files_which_bounds_its_connections(world: World) -> None:
    command = ["sh", "-c", 'ulimit -Sn 200; exec "$@"', "sh", *world.command()]
    with world.server(args=command) as server:
        (worker,) = server.workers()
        soft, hard = psutil.Process(worker).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == min(hard, 16_384) > 200


def test_nobody_reading_what_it_says_does_not_end_it(world: World) -> None:
    read, write = os.pipe()
    os.close(read)
    port = free_port()
    process = subprocess.Popen(world.command(port), cwd=ROOT, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    try:
        until(lambda: answers(Server(process, str(port))))
        process.terminate()
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and b"Traceback" not in said and b"Exception" not in said
