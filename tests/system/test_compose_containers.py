"""The serving image with the rights and variables of infra/compose.yaml, beside Debian's Redis, nginx, Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.images import Image

from mlops.records import read_decisions
from tests.serving.example import ROOT, payment
from tests.system.compose_stack import (
    SECRETS,
    environment,
    free_port,
    mounts,
    nginx_in,
    program,
    redis_of,
    rendered,
    status_of,
    until,
)
from tests.system.containers import Shipped, build, copied, engine
from tests.system.prometheus_server import running_prometheus

pytestmark = [pytest.mark.system, pytest.mark.containers, pytest.mark.timeout(600)]

ONLY_IN_CONTAINERS = ("PATH", "PYTHONPATH", "HOME")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = rendered()["services"]
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The serving image, built for this run."""
    return build(copied(tmp_path_factory.mktemp("tree")), "serving", "mlops-serving")


def rights(service: dict[str, Any]) -> dict[str, Any]:
    """What a service may do, as the engine is told."""
    return {
        "read_only": service["read_only"],
        "cap_drop": service["cap_drop"],
        "cap_add": service.get("cap_add", []),
        "security_opt": ["no-new-privileges"],
        "user": service["user"],
        "tmpfs": dict.fromkeys(service.get("tmpfs", []), ""),
    }


def variables(service: dict[str, Any], **changes: str) -> dict[str, str]:
    """What a service is told; nothing of this machine."""
    said = environment(service, **changes)
    return {name: value for name, value in said.items() if name not in ONLY_IN_CONTAINERS}


def test_prepare_gives_the_volumes_away_with_no_other_right_and_refuses_once_for_all(
    services: dict[str, Any], image: Image
) -> None:
    service, client = services["prepare"], engine()
    script = mounts(service)["/prepare"]
    volumes = {name: client.volumes.create() for name in ("access", "redis")}
    bound = {volume.name: {"bind": f"/volumes/{name}", "mode": "rw"} for name, volume in volumes.items()}
    bound[script] = {"bind": "/prepare", "mode": "ro"}

    def run(command: list[str], **more: Any) -> tuple[int, str]:
        container = client.containers.run(
            image.id, command, detach=True, network_mode="none", volumes=bound, **more
        )
        try:
            return container.wait(timeout=60)["StatusCode"], container.logs().decode()
        finally:
            container.remove(force=True, v=False)

    try:
        weak = variables(service, REDIS_PASSWORD="changeme-changeme")
        code, said = run(service["command"], environment=weak, **rights(service))
        assert code == 1 and "REDIS_PASSWORD" in said and "changeme" not in said
        for _ in range(2):  # the second time all is done already
            assert run(service["command"], environment=variables(service), **rights(service)) == (0, "")
        user = services["serving-1"]["user"]
        look = [
            "sh",
            "-c",
            "cat /volumes/access/api-keys.json; touch /volumes/redis/mine; stat -c %u:%g /volumes/*",
        ]
        code, said = run(look, **rights(services["serving-1"]))
        assert (code, said.split()) == (0, ['{"keys":[]}', user, user])
    finally:
        for volume in volumes.values():
            volume.remove(force=True)


@contextmanager
def replica(
    services: dict[str, Any], image: Image, world: Shipped, port: int, redis_port: int
) -> Iterator[Container]:
    """One of the two, on this machine's loopback, as what it talks to is there; SIGTERM ends it, as Compose would."""
    service = services["serving-1"]
    container = engine().containers.run(
        image.id,
        service["command"],
        detach=True,
        network_mode="host",
        environment=variables(
            service,
            MLOPS_STORE=service["environment"]["MLOPS_STORE"].replace(
                "@redis:6379", f"@127.0.0.1:{redis_port}"
            ),
            MLOPS_SERVING_HOST="127.0.0.1",
            MLOPS_SERVING_PORT=str(port),
        ),
        volumes={
            str(world.pointer.parent): {"bind": "/deployments", "mode": "ro"},
            str(world.access): {"bind": "/keys", "mode": "ro"},
            str(world.decisions): {"bind": "/state/decisions", "mode": "rw"},
        },
        **rights(service),
    )
    try:
        until(lambda: status_of(f"http://127.0.0.1:{port}/readyz") == 200, f"ready on {port}", 120)
        yield container
        container.stop(timeout=int(service["stop_grace_period"].rstrip("s")))
        assert container.wait(timeout=60)["StatusCode"] == 0
    finally:
        container.remove(force=True, v=True)


def test_containers_are_replaced_one_after_the_other_and_no_request_fails(
    services: dict[str, Any], image: Image, tmp_path: Path
) -> None:
    world, (one, two) = Shipped(tmp_path / "home"), (free_port(), free_port())
    world.deploy("1", world.bundle())
    world.decisions.mkdir()
    world.decisions.chmod(0o777)
    with ExitStack() as stack:
        redis_port = stack.enter_context(redis_of(services, tmp_path / "redis"))
        held = {port: stack.enter_context(ExitStack()) for port in (one, two)}
        for port, its in held.items():
            its.enter_context(replica(services, image, world, port, redis_port))
        command, front, _, popen = stack.enter_context(nginx_in([one, two]))
        stack.enter_context(program(command, tmp_path / "nginx.log", **popen))
        until(lambda: status_of(f"http://127.0.0.1:{front}/healthz") == 200, "the proxy answers")
        prometheus = stack.enter_context(running_prometheus(tmp_path / "prometheus", f"127.0.0.1:{one}"))

        def decided() -> int:
            return sum(1 for _ in read_decisions(world.decisions))

        line = [
            sys.executable,
            str(ROOT / "k8s" / "load.py"),
            f"http://127.0.0.1:{front}",
            "--key",
            world.key,
        ]
        line += ["--event", json.dumps(payment(1)), "--id", "payment", "--first", "1", "--seconds", "600"]
        load = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        try:
            until(lambda: decided() > 30, "under load")
            for port, its in held.items():
                its.close()
                seen = decided()
                until(lambda seen=seen: decided() > seen + 20, "the other answers")  # type: ignore[misc]
                assert load.poll() is None
                its.enter_context(replica(services, image, world, port, redis_port))
            load.terminate()  # then it says what became of all
            said, _ = load.communicate(timeout=60)
        finally:
            if load.poll() is None:
                load.kill()
                load.communicate()
        counts = json.loads(said)
        assert set(counts) == {"200"}, said
        decisions = list(read_decisions(world.decisions))
        assert len(decisions) == len({decision.event_id for decision in decisions}) == counts["200"]
        query = 'sum(mlops_requests_total{route="/v1/score", status="200"})'
        prometheus.wait_until(lambda p: p.query(query) != [], "Prometheus has counted requests")
        assert prometheus.query('up{job="mlops-serving"}') == [1.0]
        assert SECRETS["REDIS_PASSWORD"] not in (tmp_path / "nginx.log").read_text()
