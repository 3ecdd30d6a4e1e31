"""Faults against a real server under load: what it acknowledged is kept, and it says what is wrong.

What every client is owed: an answer, a refusal (503), or a broken connection where a process was killed; a repeat of an
event gets the answer that was acknowledged; each acknowledged answer is in the decision log.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlops.records import read_decisions, read_labels
from tests.serving.example import Server, World, payment, payments
from tests.system.load import Load, check_counts, check_kept, log_of, until
from tests.system.redis_server import running_redis

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A home with a first bundle deployed as version 1."""
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    return world


def half(pointer: Path) -> None:
    whole = pointer.read_bytes()
    pointer.write_bytes(whole[: len(whole) // 2])


def as_a_folder(pointer: Path) -> None:
    pointer.unlink()
    pointer.mkdir()


def dangling(pointer: Path) -> None:
    pointer.unlink()
    pointer.symlink_to("nowhere.json")


def to_another(pointer: Path, place: bytes) -> None:
    named = pointer.read_bytes().replace(b'"version": "', b'"version": "another than ')
    pointer.write_bytes(named.replace(b"/bundles/", place))


POINTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "half-written": (half, "not a valid Deployment"),
    "empty": (lambda pointer: pointer.write_bytes(b""), "not a valid Deployment"),
    "of zeros": (lambda pointer: pointer.write_bytes(bytes(4096)), "not a valid Deployment"),
    "not UTF-8": (lambda pointer: pointer.write_bytes(b'{"name": "\xff\xfe"}'), "not a valid Deployment"),
    "other JSON": (lambda pointer: pointer.write_bytes(b'{"champion": null}'), "not a valid Deployment"),
    "a folder": (as_a_folder, "Is a directory"),
    "gone": (lambda pointer: pointer.unlink(), "is gone"),
    "a dangling link": (dangling, "is gone"),
    "to a bundle that is not there": (lambda pointer: to_another(pointer, b"/nowhere/"), "nowhere/first"),
    "to no path at all": (lambda pointer: to_another(pointer, b"/\\u0000/"), "null byte"),
}


def removed(pointer: Path) -> None:
    if pointer.is_dir():
        pointer.rmdir()
    pointer.unlink(missing_ok=True)


def told(server: Server, said: str) -> str:
    """Why the pointer is not followed: what is waited for, as one worker may still say what was before."""
    deadline, reason = time.monotonic() + 10, ""
    while said not in reason and time.monotonic() < deadline:
        reason = str(server.wait_for("refused", ...)["reason"])
    return reason


def test_whatever_becomes_of_the_pointer_no_request_fails_and_what_is_wrong_is_said(world: World) -> None:
    bundle = world.bundle()
    with world.server("--workers", "2") as server, Load(server) as load:
        for number, (name, (break_it, said)) in enumerate(POINTERS.items(), start=2):
            break_it(world.pointer)
            reason = told(server, said)
            assert said in reason and "\n" not in reason, (name, reason)
            load.go_on()
            removed(world.pointer)
            world.deploy(str(number), bundle)
            server.wait_for("version", str(number))
            server.wait_for("refused", None)
        load.go_on()
    assert (set(load.statuses), load.broken) == ({200}, 0)
    with world.server() as server:
        check_kept(world, server, load.answers)
    assert "Traceback" not in log_of(world)


@pytest.mark.parametrize("name", ["half-written", "a folder", "to a bundle that is not there"])
def test_a_server_that_starts_on_a_broken_pointer_says_so_and_answers_once_it_is_mended(
    world: World, name: str
) -> None:
    break_it, said = POINTERS[name]
    break_it(world.pointer)
    with world.server() as server:
        assert server.get("/livez").status == 200
        ready = server.get("/readyz")
        assert ready.status == 503 and said in ready.body["refused"]["reason"]
        assert server.post("/v1/score", payment(1)).status == 503
        removed(world.pointer)
        world.deploy("2", world.bundle())
        server.wait_for("version", "2")
        assert server.post("/v1/score", payment(1)).status == 200
    assert log_of(world).count(" ERROR ") == 1 and "Traceback" not in log_of(world)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_bundle_that_was_tampered_with_is_never_put_in_place_and_the_old_one_goes_on(world: World) -> None:
    files = sorted(path.name for path in world.bundle()[0].iterdir() if path.stat().st_size)
    with world.server() as server, Load(server) as load:
        for number, name in enumerate([*files, "another file"], start=2):
            path, digest = world.bundle(f"bundle {number}", seed=number)
            if name in files:
                flipped(path / name)
            else:
                (path / "model.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
            world.deploy(str(number), (path, digest))
            until(lambda: (server.get("/readyz").body["refused"] or {}).get("version") == str(number))  # noqa: B023
            assert server.get("/v1/model").body["version"] == "1"
        load.go_on()
    assert (set(load.statuses), load.broken) == ({200}, 0)
    assert {answer["version"] for answer in load.answers.values()} == {"1"}


def test_a_worker_that_starts_again_on_a_tampered_bundle_answers_nothing_until_it_is_whole(
    world: World,
) -> None:
    path = world.home / "bundles" / "first"
    with world.server() as server:
        with Load(server) as load:
            whole = (path / "model.onnx").read_bytes()
            flipped(path / "model.onnx")
            load.go_on()
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            until(lambda: load.statuses[503] > 5)
            answered = len(load.answers)
            reason = Server(server.process, str(server.port)).get("/readyz").body["refused"]["reason"]
            assert "model.onnx" in reason
            assert len(load.answers) == answered
            (path / "model.onnx").write_bytes(whole)
            load.go_on()
        assert set(load.statuses) == {200, 503}
        check_kept(world, Server(server.process, str(server.port)), load.answers)
    assert "Traceback" not in log_of(world)


def garbage(data: bytes, begin: int, end: int) -> bytes:
    return data[:begin] + random.Random(0).randbytes(end - begin) + data[end:]


STORES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "garbage": lambda data: garbage(data, 0, len(data)),
    "zeros": lambda data: bytes(len(data)),
    "its head overwritten": lambda data: garbage(data, 0, 8192),
    "all but its head overwritten": lambda data: garbage(data, 8192, len(data)),
    "its end overwritten": lambda data: garbage(data, len(data) // 2, len(data)),
    "its second half lost": lambda data: data[: len(data) // 2 // 4096 * 4096],
    "cut anywhere": lambda data: data[: len(data) // 3 + 17],
    "another file": lambda data: b"SQLite format 3\0" + bytes(8192),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, dict[int, Any]]:
    """A world whose store has some thousand events, and their answers."""
    world = World(tmp_path_factory.mktemp("filled"))
    world.deploy("1", world.bundle())
    answers: dict[int, Any] = {}
    with world.server() as server:
        for start in range(0, 2000, 100):
            rows = payments(range(start, start + 100))
            answers |= dict(zip(range(start, start + 100), server.post("/v1/score", rows).body, strict=True))
    return world, answers


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", STORES)
def test_a_damaged_store_is_refused_at_the_start_in_one_clear_line_and_nothing_is_answered(
    filled: tuple[World, dict[int, Any]], damage: str
) -> None:
    world, answers = filled
    file = world.store / "data.mdb"
    whole = file.read_bytes()
    (world.home / "serving.log").write_text("")
    file.write_bytes(STORES[damage](whole))
    try:
        with world.server() as server:
            assert server.get("/livez").status == 200
            ready = server.get("/readyz")
            assert ready.status == 503 and ready.body["version"] is None
            assert ready.body["refused"] is None and str(world.store) in ready.body["store"]
            assert server.post("/v1/score", payment(1)).status == 503
    finally:
        file.write_bytes(whole)
    line, told, ended = log_of(world).splitlines()
    assert f"events are refused, as the store fails: {world.store}: " in line
    assert "told to end by SIGTERM" in told and ended.endswith(" serving.supervisor: ended")
    with world.server() as server:
        check_kept(world, server, answers)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of so many bytes; yields what makes it larger."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield (
            lambda size: (
                subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True) and None
            )
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_while_the_store_s_disk_is_full_events_are_refused_and_none_is_lost_or_counted_twice(
    world: World, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "1m") as enlarge:
        world.store = tmp_path / "disk" / "store"
        with world.server() as server:
            with Load(server) as load:
                until(lambda: load.statuses[503] > 20, 60)
                client = Server(server.process, str(server.port))
                others = (client.post("/v1/score", payment(number)) for number in count(10**8))
                reply = next(reply for reply in others if reply.status != 200)  # one may still find room
                assert reply.status == 503 and str(world.store) in reply.body["detail"]
                assert "the disk is full" in reply.body["detail"]
                ready = client.get("/readyz")
                assert ready.status == 503 and "the disk is full" in ready.body["store"]
                assert server.get("/livez").status == 200
                enlarge("64m")
                load.go_on()
                client.wait_for("store", None)
            assert (set(load.statuses), load.broken) == ({200, 503}, 0)
            check_kept(world, server, load.answers)
            check_counts(world, server)
    assert log_of(world).count("the store can be written to again") == 1
    assert log_of(world).count("cannot be written to") < 20
    assert "Traceback" not in log_of(world)


def test_workers_that_are_killed_again_and_again_lose_nothing_that_was_acknowledged(world: World) -> None:
    label = {"label": 1, "known_at": "2024-03-30T00:00:00"}
    labelled: list[int] = []
    with world.server("--workers", "2") as server:
        with Load(server, clients=4) as load:
            for _ in range(5):
                load.go_on(100)
                number = max(load.answers)
                client = Server(server.process, str(server.port))
                reply = client.post("/v1/labels", [{"event_id": number} | label])
                assert reply.status == 200
                labelled.append(number)
                os.kill(random.choice(server.workers()), signal.SIGKILL)
            load.go_on(100)
        until(lambda: log_of(world).count("was ended by signal 9") == 5)
        assert set(load.statuses) <= {200, 503}
        assert 0 < load.broken <= 4 * 5 + 4
        client = Server(server.process, str(server.port))
        check_kept(world, client, load.answers, orphans=load.broken)
        check_counts(world, client)
        for number in random.sample(sorted(load.answers), 20):
            known = client.get(f"/v1/decisions/{load.answers[number]['decision_id']}")
            assert (known.status, known.body["event_id"]) == (200, number)
    assert [label.event_id for label in read_labels(world.decisions)] == labelled
    assert log_of(world).count("was ended by signal 9") == 5
    assert "Traceback" not in log_of(world)


def test_when_its_supervisor_is_killed_a_worker_answers_what_it_has_and_ends(world: World) -> None:
    with world.server("--workers", "2") as server:
        load = Load(server)
        with load:
            workers = server.workers()
            load.go_on(100)
            os.kill(server.process.pid, signal.SIGKILL)
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert set(load.statuses) == {200}
    with world.server() as server:
        check_kept(world, server, load.answers)
        check_counts(world, server)


def test_a_clock_that_jumps_neither_stops_the_server_nor_mixes_up_what_came_first(world: World) -> None:
    assert FAKETIME.exists(), "no libfaketime: install the Debian packages of infra/system-packages"
    clock = world.home / "clock"
    clock.write_text("+0")
    variables = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    env = os.environ | variables

    def rate(server: Server, number: int) -> float:
        event = payment(number, shop=77, at="2024-03-12T00:00:00")
        found: dict[str, float] = server.post("/v1/score?features=true", event).body["features"]
        return found["shop_rate_fraud_7d"]

    with world.server(env=env) as server:
        assert server.post("/v1/score", payment(10**8, shop=77, at="2024-03-03T00:00:00")).status == 200
        with Load(server) as load:
            for number, jump in enumerate(["+10d", "-3d", "+400d", "-400d", "+0"]):
                clock.write_text(jump)
                load.go_on(40)
                label = {
                    "event_id": 10**8,
                    "label": int(jump == "+400d"),
                    "known_at": f"2024-03-05T00:0{number}:00",
                }
                client = Server(server.process, str(server.port))
                assert client.post("/v1/labels", [label]).body["applied"] == 1
                assert rate(client, 2 * 10**8 + number) == (jump == "+400d")
                assert client.get("/readyz").status == 200
        assert (set(load.statuses), load.broken) == ({200}, 0)
        os.kill(server.workers()[0], signal.SIGKILL)
        client = Server(server.process, str(server.port))
        assert rate(client, 3 * 10**8) == 0  # the label that came last, not that of the latest clock
    with world.server() as server:
        assert rate(server, 4 * 10**8) == 0
        check_kept(world, server, load.answers)
        check_counts(world, server)
    times = [decision.scored_at for decision in read_decisions(world.decisions)]
    assert max(times) > "2027" and "Traceback" not in log_of(world)


def test_a_redis_that_is_restarted_under_load_costs_time_and_no_answer(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with running_redis(folder) as redis:
        world.store = redis.uri  # type: ignore[assignment]
        with world.server("--workers", "2") as server:
            with Load(server) as load:
                for number in (signal.SIGKILL, signal.SIGTERM):
                    load.go_on(100)
                    redis.stop(number)
                    refused = load.statuses[503]
                    until(lambda: load.statuses[503] > refused + 20)  # noqa: B023
                    redis.start()
                    load.go_on(100)
            assert (set(load.statuses), load.broken) == ({200, 503}, 0)
            client = Server(server.process, str(server.port))
            until(lambda: client.get("/readyz").status == 200)  # a worker looks again every few seconds
            check_kept(world, client, load.answers)
            check_counts(world, client)
    assert "Traceback" not in log_of(world)
