"""The server follows the pointer: it swaps between two requests, and keeps what it has when a bundle is no good."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import pytest

from mlops.deployment import Deployed, Deployment, read_deployment, write_deployment
from mlops.errors import MlopsError, SetupError
from mlops.features import Count, FeatureSet, Rolling
from mlops.schema import Column
from mlops.signature import SIGNATURE
from mlops.signing import PUBLIC_KEY
from serving.access import Access
from serving.app import serve
from serving.batcher import Batcher
from serving.events import Event
from serving.follower import Follower
from serving.metrics import WorkerMetrics
from serving.notes import Refusal
from serving.scorer import Scorer
from serving.shared import Shared
from serving.state import State
from serving.supervisor import listen
from tests.serving.example import EVENTS, FEATURES, NUMBERS, World, model_bytes, payment, payments


def test_without_a_deployment_it_is_alive_but_not_ready_until_one_comes(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server() as server:
        assert server.get("/livez").status == 200
        ready = server.get("/readyz")
        assert (ready.status, ready.body["version"], ready.body["refused"]) == (503, None, None)
        assert ready.body["pointer"] == f"no pointer at {world.pointer}; promotion writes it"
        reply = server.post("/v1/score", payment(1))
        assert (reply.status, reply.type) == (503, "application/problem+json")
        world.deploy("1", world.bundle())
        server.wait_for("version", "1")
        assert server.get("/readyz").body["pointer"] is None
        assert server.post("/v1/score", payment(1)).status == 200
    assert (world.home / "serving.log").read_text().count(f"no pointer at {world.pointer}") == 1


def test_bundles_are_swapped_while_requests_run_and_none_fails(world: World) -> None:
    second = world.bundle("second", seed=1)
    first = world.bundle("first")
    with world.server() as server:
        stop, statuses, versions = threading.Event(), [], []

        def send(offset: int) -> None:
            client = type(server)(server.process, str(server.port))
            for number in itertools.count(offset, 4):
                if stop.is_set():
                    return
                reply = client.post("/v1/score", payment(number))
                statuses.append(reply.status)
                versions.append(reply.body["version"])

        threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for version, bundle in [("2", second), ("3", first), ("4", second), ("5", first)]:
            world.deploy(version, bundle)
            server.wait_for("version", version)
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 100
    assert {"1", "2", "3", "4", "5"} >= set(versions) >= {"1", "5"}


def spoil_signature(world: World) -> None:
    path, digest = world.bundle("second", seed=1)
    text = (path / SIGNATURE).read_text()
    at = text.index('"sig":"') + 40
    (path / SIGNATURE).write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    world.deploy("2", (path, digest))


def spoil_model(world: World) -> None:
    path, digest = world.bundle("second", seed=1)
    data = bytearray((path / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "model.onnx").write_bytes(data)
    world.deploy("2", (path, digest))


def add_a_file(world: World) -> None:
    path, digest = world.bundle("second", seed=1)
    (path / ".gitignore").write_text("*")
    world.deploy("2", (path, digest))


def spoil_golden(world: World) -> None:
    world.deploy("2", world.bundle("second", golden_shift=0.01))


def sign_nonsense(world: World) -> None:
    world.deploy("2", world.bundle("second", model=b"nonsense"))


def take_other_features(world: World) -> None:
    world.deploy("2", world.bundle("second", model=model_bytes(3)[0]))


def sign_with_another_key(world: World) -> None:
    other = World(world.home / "elsewhere")
    path, digest = other.bundle("second")
    world.deploy("2", (path, digest))


def name_another_digest(world: World) -> None:
    path, digest = world.bundle("second", seed=1)
    world.deploy("2", (path, digest[::-1]))


def need_more_totals(world: World) -> None:
    more = FeatureSet((*FEATURES.features, Rolling(key="note", agg=Count(), windows=("1d",))))
    world.deploy("2", world.bundle("second", features=more))


def remove_bundle(world: World) -> None:
    world.deploy("2", world.bundle("second", seed=1))
    shutil.rmtree(world.home / "bundles" / "second")


def write_no_deployment(world: World) -> None:
    world.pointer.write_text("{")


def name_a_bucket(world: World) -> None:
    champion = Deployed(version="2", candidate="mlp", framework="pytorch", uri="s3://models/1", digest="0")
    write_deployment(world.pointer, Deployment(name="example", champion=champion))


def name_no_uri(world: World) -> None:
    champion = Deployed(version="2", candidate="mlp", framework="pytorch", uri="http://[::1", digest="0")
    write_deployment(world.pointer, Deployment(name="example", champion=champion))


BAD = [
    (spoil_signature, "the signature does not match"),
    (spoil_model, "is not the file that was signed"),
    (add_a_file, "is not among what was signed"),
    (spoil_golden, "off the golden scores"),
    (sign_nonsense, "ONNX Runtime: "),
    (take_other_features, "ONNX Runtime: "),
    (sign_with_another_key, "was signed with another key"),
    (name_another_digest, "has the digest"),
    (need_more_totals, "lacks count by note"),
    (remove_bundle, "cannot be read"),
    (write_no_deployment, "not a valid Deployment"),
    (name_a_bucket, "only local folders"),
    (name_no_uri, "is no URI"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD, ids=[spoil.__name__ for spoil, _ in BAD])
def test_a_bad_bundle_is_refused_and_the_old_one_goes_on(world: World, spoil: object, reason: str) -> None:
    with world.server() as server:
        assert server.post("/v1/score", payments(range(5))).status == 200
        assert callable(spoil)
        spoil(world)
        refused = server.wait_for("refused", ...)
        assert reason in refused["reason"]
        assert server.post("/v1/score", payment(10)).body["version"] == "1"
        world.deploy("3", world.bundle("third", seed=3))
        server.wait_for("version", "3")
        assert server.get("/readyz").body["refused"] is None
        assert server.post("/v1/score", payment(11)).body["version"] == "3"


def test_a_bundle_that_is_no_good_at_the_start_leaves_it_not_ready_with_the_reason(world: World) -> None:
    need_model = world.home / "bundles" / "first" / "model.onnx"
    need_model.write_bytes(b"nonsense")
    with world.server() as server:
        ready = server.get("/readyz")
        assert (ready.status, ready.body["refused"]["version"]) == (503, "1")
        assert "is not the file that was signed" in ready.body["refused"]["reason"]


def test_a_spoilt_key_is_a_refusal_and_the_pointer_is_followed_on(world: World) -> None:
    key = world.keys / PUBLIC_KEY
    good = key.read_bytes()
    second = world.bundle("second", seed=1)
    with world.server() as server:
        key.write_bytes(b"garbage")
        world.deploy("2", second)
        assert "not a public key in PEM" in server.wait_for("refused", ...)["reason"]
        assert server.get("/readyz").body["following"] is True
        key.write_bytes(good)
        world.deploy("3", world.bundle("third", seed=3))
        server.wait_for("version", "3")
        assert server.get("/readyz").body["refused"] is None
    assert "Traceback" not in (world.home / "serving.log").read_text()


def test_what_is_refused_and_what_is_mended_is_logged_once_each(world: World) -> None:
    good = world.pointer.read_bytes()
    with world.server() as server:
        for _ in range(2):
            world.pointer.write_bytes(b"{")
            server.wait_for("refused", ...)
            time.sleep(0.2)  # some looks more
            world.pointer.write_bytes(good)
            server.wait_for("refused", None)
    log = (world.home / "serving.log").read_text()
    assert log.count("refused version unknown") == 2
    assert log.count("nothing is refused any more: version 1 still answers") == 2


def test_a_uri_that_is_none_at_the_start_leaves_it_to_what_answered_before_until_it_is_mended(
    world: World,
) -> None:
    good = read_deployment(world.pointer)
    assert good is not None
    name_no_uri(world)
    bad = read_deployment(world.pointer)
    assert bad is not None
    with world.server() as server:
        assert "is no URI" in server.get("/readyz").body["refused"]["reason"]
        write_deployment(world.pointer, msgspec.structs.replace(bad, previous=good.champion))
        server.wait_for("version", "1")
        assert server.get("/readyz").body["following"] is True
        assert server.post("/v1/score", payment(1)).status == 200
        write_deployment(world.pointer, good)
        server.wait_for("refused", None)
    assert "Traceback" not in (world.home / "serving.log").read_text()


def test_a_bundle_that_fails_as_nobody_foresaw_is_refused_and_the_traceback_is_logged_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    follower = follower_of(world)
    first = follower.check()
    assert first is not None
    follower.put(first)
    second = world.bundle("second", seed=1)
    with monkeypatch.context() as patched:

        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("by nothing")

        patched.setattr("serving.follower.open_bundle", fail)
        world.deploy("2", second)
        for _ in range(2):
            follower.ask()
            assert follower.check() is None
        assert follower.refused == Refusal(version="2", reason="ZeroDivisionError: by nothing")
        assert [bool(record.exc_info) for record in caplog.records] == [True]
    follower.ask()
    found = follower.check()
    assert found is not None and found.version == "2" and follower.refused is None
    follower.close()


def follower_of(world: World) -> Follower:
    shared = Shared.create(1)
    return Follower(world.options(), WorkerMetrics(shared), shared)


class Failing(Follower):
    """Fails, once there is something to fail over, with an error that nobody foresaw."""

    fails = False

    def check(self) -> Scorer | None:
        if self.fails:
            raise ZeroDivisionError
        return super().check()


def test_when_the_pointer_is_not_followed_any_more_the_worker_ends_and_closes_what_it_holds(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    follower = asyncio.run(asyncio.wait_for(fail_and_end(world), timeout=20))
    assert follower.service is not None
    with pytest.raises(SetupError, match="closed"), follower.service.store.begin():
        pass
    assert "the worker ends: the pointer is not followed any more" in caplog.text


async def fail_and_end(world: World) -> Follower:
    options, shared = world.options(), Shared.create(1)
    metrics = WorkerMetrics(shared)
    follower = Failing(options, metrics, shared)

    def score(requests: Sequence[Sequence[Event]], callers: Sequence[str]) -> list[list[bytes] | MlopsError]:
        assert follower.service is not None
        return follower.service.score_each(requests, callers)

    state = State(
        options=options,
        follower=follower,
        batcher=Batcher(score, options.queue),
        access=Access(None, shared),
        metrics=metrics,
        shared=shared,
    )
    listener = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listening = asyncio.Event()
    serving = asyncio.create_task(serve(state, listener, on_ready=listening.set))
    await listening.wait()
    async with httpx.AsyncClient(base_url=address) as client:
        assert (await client.get("/readyz")).json()["following"] is True
        assert (await client.post("/v1/score", json=payment(1))).status_code == 200
        follower.fails = True
        await serving
    return follower


ONLY_WHEN_ASKED = ("--poll-seconds", "60")


def test_a_pointer_that_is_gone_is_said_and_what_answered_goes_on_until_it_is_back(world: World) -> None:
    with world.server() as server:
        aside = world.pointer.with_name("aside")
        world.pointer.rename(aside)
        assert "is gone" in server.wait_for("refused", ...)["reason"]
        assert server.post("/v1/score", payment(1)).body["version"] == "1"
        aside.rename(world.pointer)
        server.wait_for("refused", None)
        assert server.post("/v1/score", payment(2)).body["version"] == "1"


def test_promoting_what_answers_loads_nothing(world: World) -> None:
    with world.server(*ONLY_WHEN_ASKED) as server:
        world.deploy("1", (world.home / "bundles" / "first", server.get("/v1/model").body["digest"]))
        assert server.post("/v1/admin/reload", b"").status == 200
        assert 'mlops_model_loads_total{outcome="loaded"} 1.0' in server.text("/metrics")


def test_a_repeat_after_the_schema_has_got_a_column_is_still_a_repeat(world: World) -> None:
    columns = (Column(name="channel", type="text", nullable=True), *EVENTS.columns)
    wider = msgspec.structs.replace(NUMBERS, events=msgspec.structs.replace(EVENTS, columns=columns))
    with world.server() as server:
        first = server.post("/v1/score", payment(1)).body
        world.deploy("2", world.bundle("second", schema=wider))
        server.wait_for("version", "2")
        assert server.post("/v1/score", payment(1)).body == first
        assert server.post("/v1/score", payment(1, channel="web")).status == 409


def test_a_relative_uri_starts_at_the_pointer(world: World) -> None:
    _, digest = world.bundle("second", seed=1)
    champion = Deployed(
        version="2", candidate="mlp", framework="pytorch", uri="../bundles/second", digest=digest
    )
    write_deployment(world.pointer, Deployment(name="example", champion=champion))
    with world.server() as server:
        assert server.get("/v1/model").body["version"] == "2"
    assert msgspec.json.decode(world.pointer.read_bytes(), type=Deployment).champion == champion
