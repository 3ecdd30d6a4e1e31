"""Asked to, all workers look at the pointer now and say what answers; the audit log has it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from tests.serving.example import Server, World, payment

ONLY_WHEN_ASKED = ("--poll-seconds", "60")


def answering(server: Server, pids: Sequence[int]) -> int:
    """The worker that has the connection of `server`."""
    for pid in pids:
        ports = {c.raddr.port for c in psutil.Process(pid).net_connections("tcp") if c.raddr}
        if server.local_port() in ports:
            return pid
    raise AssertionError("nobody has it")


def test_asked_to_reload_all_workers_answer_with_what_the_pointer_names_and_it_is_written_down(
    world: World,
) -> None:
    first, second = world.bundle(), world.bundle("second", seed=1)
    with world.server("--workers", "3", *ONLY_WHEN_ASKED) as server:
        for version, (path, digest) in [("2", second), ("3", first)]:
            world.deploy(version, (path, digest))
            reply = server.post("/v1/admin/reload", b"")
            assert (reply.status, reply.body["version"], reply.body["digest"]) == (200, version, digest)
            told = [(worker["worker"], worker["version"]) for worker in reply.body["workers"]]
            assert told == [(0, version), (1, version), (2, version)]
            assert sorted(worker["pid"] for worker in reply.body["workers"]) == server.workers()
            each = [type(server)(server.process, str(server.port)) for _ in range(12)]
            assert {c.get("/v1/model").body["version"] for c in each} == {version}
    (log,) = world.decisions.glob("audit-*.jsonl")
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    assert [(line["action"], line["caller"], line["outcome"]) for line in lines] == [
        ("/v1/admin/reload", "local", "version 2 answers"),
        ("/v1/admin/reload", "local", "version 3 answers"),
    ]


def test_asked_to_reload_what_is_refused_it_says_why_and_the_old_one_goes_on(world: World) -> None:
    with world.server("--workers", "2", *ONLY_WHEN_ASKED) as server:
        assert server.post("/v1/admin/reload", b"").status == 200  # both answer
        world.deploy("2", world.bundle("second", golden_shift=0.01))
        reply = server.post("/v1/admin/reload", b"")
        assert (reply.status, reply.type) == (409, "application/problem+json")
        assert reply.body["detail"].startswith("version 2 is refused: ")
        assert "off the golden scores" in reply.body["detail"]
        assert [worker["version"] for worker in reply.body["workers"]] == ["1", "1"]
        assert all("golden" in worker["refused"]["reason"] for worker in reply.body["workers"])
        assert server.post("/v1/score", payment(1)).body["version"] == "1"
        assert server.get("/readyz").body["refused"]["version"] == "2"
        metrics = server.text("/metrics")
        assert 'mlops_model_loads_total{outcome="refused"} 2.0' in metrics
        for worker in range(2):
            assert f'mlops_model_refused{{worker="{worker}"}} 1.0' in metrics
        world.deploy("1", world.bundle())
        assert server.post("/v1/admin/reload", b"").status == 200
        assert server.get("/readyz").body["refused"] is None
    (log,) = world.decisions.glob("audit-*.jsonl")
    assert "off the golden scores" in log.read_text().splitlines()[1]


def test_asked_to_reload_where_nothing_is_deployed_it_says_so(tmp_path: Path) -> None:
    with World(tmp_path).server() as server:
        reply = server.post("/v1/admin/reload", b"")
        assert (reply.status, reply.body["detail"]) == (409, "nothing is deployed yet")


def test_a_worker_that_does_not_report_is_named(world: World) -> None:
    with world.server("--workers", "2", *ONLY_WHEN_ASKED) as server:
        told = server.post("/v1/admin/reload", b"").body["workers"]
        here = answering(server, [worker["pid"] for worker in told])
        (other,) = [worker for worker in told if worker["pid"] != here]
        os.kill(other["pid"], signal.SIGSTOP)
        try:
            reply = server.post("/v1/admin/reload", b"")
        finally:
            os.kill(other["pid"], signal.SIGCONT)
        assert reply.status == 503
        assert {"worker": other["worker"], "pid": None} in reply.body["workers"]
