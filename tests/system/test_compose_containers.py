"""infra/compose.yaml as Compose 2 starts it: our images, and Debian's programs where images of others cannot be had."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.serving.example import ROOT, payment
from tests.system.compose_stack import SECRETS, status_of, until
from tests.system.composed import ABSENT, SERVICES, Stack, composed
from tests.system.containers import Shipped
from tests.system.test_compose import DOORS, MEETS

pytestmark = [pytest.mark.system, pytest.mark.containers, pytest.mark.timeout(1800)]

READY_S = 180.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with composed(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """A champion, and a key, in the stack's volumes."""
    world = Shipped(tmp_path_factory.mktemp("world") / "home")
    world.deploy("1", world.bundle())
    take_along(stack, world)
    until(lambda: stack.healthy(*SERVICES), "all are healthy", READY_S)
    return world


def take_along(stack: Stack, world: Shipped) -> None:
    """Copy a home's deployments and keys into the volumes, the pointer last and at once."""
    to = "/mlops/home/deployments"
    script = (
        f"cp -r /from/deployments/bundles {to}/ && cp /from/deployments/current.json {to}/new"
        f" && mv {to}/new {to}/current.json && cp /from/access/* /mlops/access/"
    )
    stack.compose(
        *(
            "run",
            "--rm",
            "-T",
            "--no-deps",
            "--volume",
            f"{world.home}:/from:ro",
            "pipelines",
            "sh",
            "-ec",
            script,
        )
    )


def test_all_are_healthy_and_pages_are_on_this_machine_only(stack: Stack, world: Shipped) -> None:
    assert stack.containers()["prepare"].attrs["State"]["ExitCode"] == 0
    assert status_of(stack.url("PROXY_PORT", "/healthz")) == 200
    assert status_of(stack.url("MLFLOW_PORT", "/health")) == 200
    assert status_of(stack.url("MLFLOW_PORT", "/"), {"Host": "evil.example.com"}) == 403
    assert status_of(stack.url("PREFECT_PORT", "/api/version")) == 401
    token = base64.b64encode(f"admin:{SECRETS['PREFECT_PASSWORD']}".encode()).decode()
    assert status_of(stack.url("PREFECT_PORT", "/api/version"), {"Authorization": f"Basic {token}"}) == 200
    for name in SERVICES:
        for bindings in stack.containers()[name].attrs["NetworkSettings"]["Ports"].values():
            assert {binding["HostIp"] for binding in bindings or []} <= {"127.0.0.1"}, name


def test_services_know_only_those_whom_they_need_and_no_way_out(stack: Stack, world: Shipped) -> None:
    for name in SERVICES:
        others = [other for other in SERVICES if other != name]
        script = f"for n in {' '.join(others)}; do getent hosts $n >/dev/null && echo $n; done"
        assert set(stack.said(name, script).split()) == MEETS[name] - ABSENT - {"pipelines", "worker"}, name
        routes = stack.said(name, "cat /proc/net/route")
        out = any(line.split()[1] == "00000000" for line in routes.splitlines()[1:])
        assert out == (name in DOORS), name


def test_prometheus_sees_both_servers(stack: Stack, world: Shipped) -> None:
    query = "http://127.0.0.1:9090/api/v1/query?query=sum(up%7Bjob=%22mlops-serving%22%7D)"

    def up() -> str:
        result = json.loads(stack.said("prometheus", f"wget -q -O - '{query}'") or "{}")
        found: str = result["data"]["result"][0]["value"][1] if result else ""
        return found

    until(lambda: up() == "2", "both servers are up", READY_S)


def test_servers_are_made_anew_one_after_the_other_and_no_request_fails(stack: Stack, world: Shipped) -> None:
    url, key = stack.url("PROXY_PORT", ""), world.home / "key"
    key.write_text(world.key)
    assert status_of(f"{url}/v1/model") == 401
    assert status_of(f"{url}/v1/model", {"X-API-Key": world.key}) == 200
    assert status_of(f"{url}/metrics", {"X-API-Key": world.key}) == 404
    load = subprocess.Popen(
        [
            *(sys.executable, str(ROOT / "k8s" / "load.py"), url, "--key-file", str(key), "--first", "1"),
            *("--event", json.dumps(payment(1)), "--id", "payment", "--seconds", "600"),
            *("--vary", "card=503", "--vary", "shop=401"),  # events of one card or shop wait for one another
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for name in ("serving-1", "serving-2"):
            before = stack.containers()[name]
            stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", name)
            assert stack.containers()[name].id != before.id
            assert load.poll() is None
        world.deploy("2", world.bundle("second", seed=2))
        take_along(stack, world)
        until(lambda: version(url, world.key) == "2", "the new champion is followed", 60)
        load.terminate()  # then it says what became of all
        said, _ = load.communicate(timeout=60)
    finally:
        if load.poll() is None:
            load.kill()
            load.communicate()
    counts = json.loads(said)
    lines = stack.containers()["proxy"].logs().decode().splitlines()
    failed = [line for line in lines if '"path":"/v1/score"' in line and '"status":200' not in line]
    assert set(counts) == {"200"} and counts["200"] > 100, "\n".join([said, *failed[:5]])
    answered = {json.loads(line)["upstream"].split(", ")[-1] for line in lines if '"upstream":"1' in line}
    assert len(answered) >= 2
    assert not any(secret in "\n".join(lines) for secret in (world.key, *SECRETS.values()))


def test_strangers_large_requests_keep_nobody_waiting_and_do_not_end_the_proxy(
    stack: Stack, world: Shipped
) -> None:
    """A hundred bodies that never end, three times as much as the proxy has room for."""
    before = stack.containers()["proxy"]
    model = stack.url("PROXY_PORT", "/v1/model")
    until(lambda: status_of(model, {"X-API-Key": world.key}) == 200, "the servers answer", READY_S)
    head = b"POST /v1/score HTTP/1.1\r\nHost: here\r\nContent-Length: 2097152\r\n\r\n"
    with ExitStack() as open_ones:
        for _ in range(100):
            where = ("127.0.0.1", int(stack.ports["PROXY_PORT"]))
            one = open_ones.enter_context(socket.create_connection(where, timeout=10))
            with suppress(OSError):  # refused, as there is no room
                one.sendall(head + bytes(2097151))
        answer = urllib.request.Request(
            stack.url("PROXY_PORT", "/v1/score"),
            json.dumps(payment(900_001)).encode(),
            {"X-API-Key": world.key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(answer, timeout=20) as response:
            assert response.status == 200
        assert int(stack.said("proxy", "df -k /tmp | awk 'NR == 2 { print $2 }'")) == 64 * 1024
    after = stack.containers()["proxy"]
    assert after.attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]


def version(url: str, key: str) -> str:
    """The version that answers, or why none does: whether a request may fail is asked of those that are counted."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/v1/model", headers={"X-API-Key": key}), timeout=20
        ) as answer:
            found: str = json.load(answer)["version"]
            return found
    except urllib.error.HTTPError as error:
        return str(error)


def test_prepare_gives_away_what_others_own_and_cannot_be_opened(stack: Stack, world: Shipped) -> None:
    volume = f"{stack.project}_home"
    script = "install -d -m 700 -o 4242 -g 4242 /v/theirs; install -m 600 -o 4242 /dev/null /v/theirs/file; rm -f /a/*"
    stack.client.containers.run(
        "mlops-serving:latest",
        ["sh", "-ec", script],
        user="0:0",
        remove=True,
        volumes={
            volume: {"bind": "/v", "mode": "rw"},
            f"{stack.project}_access": {"bind": "/a", "mode": "rw"},
        },
    )
    stack.compose("run", "--rm", "-T", "prepare")
    look = "cd /mlops/home/theirs; echo more >> file; stat -c %u:%g:%s file; cat /mlops/access/api-keys.json"
    found = stack.compose("run", "--rm", "-T", "--no-deps", "pipelines", "sh", "-ec", look)
    assert "10001:10001:5" in found and '{"keys":[]}' in found


def test_prepare_refuses_a_weak_secret_and_nothing_starts_after_it(stack: Stack, world: Shipped) -> None:
    stack.write_env(SECRETS | {"GRAFANA_PASSWORD": "changeme-changeme"})
    stack.compose("up", "--detach", "redis", status=1)  # it waits for `prepare` to end well
    said = stack.containers()["prepare"].logs().decode()
    refusals = [line for line in said.splitlines() if line.startswith("compose: ")]
    assert len(refusals) == 1 and "GRAFANA_PASSWORD" in refusals[0] and "changeme" not in refusals[0]
    stack.write_env({name: value for name, value in SECRETS.items() if name != "REDIS_PASSWORD"})
    said = stack.compose("up", "--detach", status=15)
    assert "REDIS_PASSWORD" in said and "make-secrets" in said
