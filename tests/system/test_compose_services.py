"""The programs of infra/compose.yaml, started as it starts them, but on loopback and without containers."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
import s3fs

from mlops.api_keys import create_key
from mlops.records import read_decisions
from tests.serving.example import ROOT, World, payment
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
from tests.system.postgresql_server import ADMINISTRATOR, PASSWORD, PostgresqlServer, running_postgresql

pytestmark = pytest.mark.system

LOAD = ROOT / "k8s" / "load.py"
READY_S = 120.0


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = rendered()["services"]
    return found


def test_redis_keeps_what_it_is_told_and_asks_for_its_password(
    services: dict[str, Any], tmp_path: Path
) -> None:
    with redis_of(services, tmp_path / "redis") as port:
        client = redis.Redis(port=port, password=SECRETS["REDIS_PASSWORD"], decode_responses=True)
        said = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "maxmemory")
        assert said == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "maxmemory": str(448 * 2**20),
        }
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        lines = [
            " ".join(process.cmdline())
            for process in psutil.process_iter()
            if process.name() == "redis-server"
        ]
        assert not any(SECRETS["REDIS_PASSWORD"] in line for line in lines)
    assert (tmp_path / "redis" / "own.conf").stat().st_mode & 0o077 == 0


@contextmanager
def replica(
    services: dict[str, Any], world: World, port: int, redis_port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """One of the two servers: the options of the stack, in the places of `world`."""
    service = services["serving-1"]
    env = environment(
        service,
        MLOPS_STORE=service["environment"]["MLOPS_STORE"].replace("@redis:6379", f"@127.0.0.1:{redis_port}"),
        MLOPS_SERVING_HOST="127.0.0.1",
        MLOPS_SERVING_PORT=str(port),
        MLOPS_SERVING_WORKERS="1",
        MLOPS_SERVING_POINTER=str(world.pointer),
        MLOPS_SERVING_PUBLIC_KEY=str(world.keys / "verify-key.pem"),
        MLOPS_SERVING_KEYS=str(world.home / "access" / "api-keys.json"),
        MLOPS_SERVING_DECISIONS=str(world.decisions),
        MLOPS_SERVING_AUDIT=str(world.decisions),
        OMP_NUM_THREADS="1",
    )
    assert service["command"][0] == "python3"
    command = [sys.executable, *service["command"][1:]]
    with program(command, world.home / f"serving-{port}.log", env=env, cwd=world.home) as process:
        until(lambda: status_of(f"http://127.0.0.1:{port}/readyz") == 200, f"ready on {port}", READY_S)
        yield process


def test_two_servers_behind_the_proxy_are_rolled_without_a_failed_request(
    services: dict[str, Any], tmp_path: Path
) -> None:
    world, (one, two) = World(tmp_path), (free_port(), free_port())
    world.deploy("1", world.bundle())
    (tmp_path / "access").mkdir()
    keys = tmp_path / "access" / "api-keys.json"
    keys.write_text('{"keys":[]}\n')  # as `prepare` writes it
    with ExitStack() as stack:
        redis_port = stack.enter_context(redis_of(services, tmp_path / "redis"))
        first = ExitStack()
        stack.enter_context(first)
        first.enter_context(replica(services, world, one, redis_port))
        second = ExitStack()
        stack.enter_context(second)
        second.enter_context(replica(services, world, two, redis_port))
        command, port, folder, popen = stack.enter_context(nginx_in([one, two]))
        proxy = stack.enter_context(program(command, tmp_path / "nginx.log", number=signal.SIGQUIT, **popen))
        url = f"http://127.0.0.1:{port}"
        until(lambda: status_of(f"{url}/healthz") == 200, "the proxy answers")

        # Nobody may ask before there is a key; the file is followed.
        body = json.dumps(payment(0)).encode()
        assert status_of(f"{url}/v1/model") == 401
        key = create_key(keys, "shop", scopes=("score",))
        for at in (one, two):
            until(lambda at=at: lets_in(at, key), "the key is followed")  # type: ignore[misc]
        assert status_of(f"{url}/v1/model", {"X-API-Key": key}) == 200
        for path in (
            "/metrics",
            "/v1/admin/reload",
            "/readyz",
            "/livez",
            "/docs",
            "/",
            "/v1/scores",
            "/v1/admin",
            "/v2",
            "/v2/health/ready",
            "/invocations",
        ):
            assert status_of(url + path, {"X-API-Key": key}) == 404, path
        assert status_of(f"{url}/openapi.json") == 200

        def decided() -> int:
            return sum(1 for _ in read_decisions(world.decisions))

        (tmp_path / "key").write_text(f"{key}\n")
        line = [sys.executable, str(LOAD), url, "--event", body.decode(), "--id", "payment"]
        # Events of one card or shop wait for one another.
        line += ["--vary", "card=503", "--vary", "shop=401"]
        line += ["--key-file", str(tmp_path / "key"), "--connections", "3", "--first", "1", "--seconds"]
        load = subprocess.Popen([*line, "600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            until(lambda: decided() > 30, "under load")
            for at, held in ((one, first), (two, second)):
                held.close()  # SIGTERM, as `docker compose up --force-recreate` sends it
                seen = decided()
                until(lambda seen=seen: decided() > seen + 20, "the other answers")  # type: ignore[misc]
                assert load.poll() is None
                held.enter_context(replica(services, world, at, redis_port))
            world.deploy("2", world.bundle("second", seed=2))
            for at in (one, two):
                until(lambda at=at: version_at(at) == "2", "both follow the pointer")  # type: ignore[misc]
            load.terminate()  # then it says what became of all
            said, errors = load.communicate(timeout=60)
        finally:
            if load.poll() is None:
                load.kill()
                load.communicate()
        counts = json.loads(said)
        assert (load.returncode, set(counts)) == (0, {"200"}), (
            said,
            errors,
            (tmp_path / "nginx.log").read_text(),
        )
        assert proxy.poll() is None

        decisions = list(read_decisions(world.decisions))
        assert len(decisions) == len({decision.event_id for decision in decisions}) == counts["200"]
        answered = {line["upstream"].split(", ")[-1] for line in map(json.loads, (folder / "access").open())}
        assert answered >= {f"127.0.0.1:{one}", f"127.0.0.1:{two}"}
        assert key not in (folder / "access").read_text() + (tmp_path / "nginx.log").read_text()


def lets_in(port: int, key: str) -> bool:
    return status_of(f"http://127.0.0.1:{port}/v1/model", {"X-API-Key": key}) == 200


def version_at(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20) as answer:
        version: str = json.load(answer)["version"]
        return version


@pytest.fixture(scope="module")
def database(services: dict[str, Any]) -> Iterator[PostgresqlServer]:
    """A PostgreSQL on which the script has run that the image runs once."""
    with running_postgresql() as server:
        files = mounts(services["postgres"])
        script = next(
            source for target, source in files.items() if target.startswith("/docker-entrypoint-initdb.d/")
        )
        said = environment(services["postgres"]) | server.env | {"PGPASSWORD": PASSWORD}
        subprocess.run(["sh", script], env=said, timeout=60, check=True)
        yield server


def test_each_role_has_its_own_database_and_the_monitor_reads_statistics_only(
    database: PostgresqlServer,
) -> None:
    def connect(role: str, secret: str, name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=database.port, user=role, password=secret, dbname=name)

    own = {"mlflow": ("mlops", "MLFLOW_PASSWORD"), "prefect": ("prefect", "PREFECT_DB_PASSWORD")}
    for name, (role, secret) in own.items():
        with connect(role, SECRETS[secret], name) as connection:
            connection.execute("CREATE TABLE it_may_write (n int)")
            connection.rollback()
        for other in {*own, "postgres"} - {name}:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                connect(role, SECRETS[secret], other)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(role, "another", name)
        with connect("monitor", SECRETS["MONITOR_PASSWORD"], name) as connection:
            assert connection.execute("SELECT count(*) FROM pg_stat_activity").fetchone()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE it_may_not (n int)")
    assert ADMINISTRATOR not in {role for role, _ in own.values()}


def command_of(service: dict[str, Any], changes: dict[str, str]) -> list[str]:
    """The command of a service of ours, with the tool of this environment and other values of options."""
    tool, *words = service["command"]
    said = {word.split("=")[0] for word in words if "=" in word}
    assert set(changes) <= said
    words = [f"{name}={changes[name]}" if (name := word.split("=")[0]) in changes else word for word in words]
    return [str(Path(sys.executable).parent / tool), *words]


def test_mlflow_s_server_keeps_its_record_in_postgresql(
    services: dict[str, Any], database: PostgresqlServer, tmp_path: Path
) -> None:
    service, port = services["mlflow"], free_port()
    command = command_of(
        service,
        {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--backend-store-uri": f"postgresql+psycopg://mlops@127.0.0.1:{database.port}/mlflow",
            "--artifacts-destination": str(tmp_path),
        },
    )
    env = environment(service, HOME=str(tmp_path))
    with program(command, tmp_path / "log", env=env, cwd=tmp_path):
        health = service["environment"]["HEALTH"].replace(":5000", f":{port}")
        until(lambda: status_of(health) == 200, "MLflow answers", READY_S)
        assert status_of(f"http://127.0.0.1:{port}/", {"Host": "evil.example.com"}) == 403
    with psycopg.connect(
        host="127.0.0.1",
        port=database.port,
        user="mlops",
        password=SECRETS["MLFLOW_PASSWORD"],
        dbname="mlflow",
    ) as connection:
        assert connection.execute("SELECT count(*) FROM registered_models").fetchone() == (0,)


def test_prefect_s_server_keeps_its_runs_in_postgresql_and_asks_for_its_password(
    services: dict[str, Any], database: PostgresqlServer, tmp_path: Path
) -> None:
    service, port = services["prefect"], free_port()
    said = service["environment"]
    command = command_of(service, {"--host": "127.0.0.1", "--port": str(port)})
    env = environment(
        service,
        PREFECT_API_DATABASE_CONNECTION_URL=said["PREFECT_API_DATABASE_CONNECTION_URL"].replace(
            "@postgres/", f"@127.0.0.1:{database.port}/"
        ),
        HOME=str(tmp_path),
        PREFECT_HOME=str(tmp_path / "prefect"),
    )
    with program(command, tmp_path / "log", env=env, cwd=tmp_path):
        url = f"http://127.0.0.1:{port}/api"
        assert said["HEALTH"].endswith("/api/health")
        until(lambda: status_of(f"{url}/health") == 200, "Prefect answers", READY_S)
        assert status_of(f"{url}/version") == 401
        token = base64.b64encode(said["PREFECT_SERVER_API_AUTH_STRING"].encode()).decode()
        assert status_of(f"{url}/version", {"Authorization": f"Basic {token}"}) == 200
    with psycopg.connect(
        host="127.0.0.1",
        port=database.port,
        user="prefect",
        password=SECRETS["PREFECT_DB_PASSWORD"],
        dbname="prefect",
    ) as connection:
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)


def test_the_object_store_answers_signed_requests_and_shows_nothing_else(
    services: dict[str, Any], tmp_path: Path
) -> None:
    service = services["objects"]
    (tmp_path / "data").mkdir()
    ports = {
        name: free_port() for name in ("-s3.port=8333", "-master.port=", "-volume.port=", "-filer.port=")
    }
    words = [
        word.replace("/data", str(tmp_path / "data")) for word in service["command"] if word not in ports
    ]
    words += [f"{name.split('=')[0]}={port}" for name, port in ports.items()]
    words += [f"{name.split('.')[0]}.port.grpc={free_port()}" for name in ports]
    weed = str(Path(sys.executable).parent / "weed")
    env = environment(service, HOME=str(tmp_path))
    port = ports["-s3.port=8333"]
    # It takes its time to end: half a minute, which nothing here needs.
    with program([weed, *words], tmp_path / "log", number=signal.SIGKILL, env=env, cwd=tmp_path) as process:
        until(lambda: status_of(f"http://127.0.0.1:{port}/healthz") == 200, "SeaweedFS answers")

        def storage(key: str | None, secret: str | None) -> Any:
            where = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
            return s3fs.S3FileSystem(
                key=key, secret=secret, anon=key is None, client_kwargs=where, skip_instance_cache=True
            )

        ours = storage(SECRETS["S3_ACCESS_KEY"], SECRETS["S3_SECRET_KEY"])
        until(lambda: written(ours), "it takes a file")
        assert ours.cat("tables/events/a") == b"a row"
        for key, secret in ((None, None), (SECRETS["S3_ACCESS_KEY"], "another"), ("another", "another")):
            with pytest.raises(PermissionError):
                storage(key, secret).cat("tables/events/a")
        open_to_all = {
            connection.laddr.port
            for connection in psutil.Process(process.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip in ("::", "0.0.0.0")
        }
        assert port in open_to_all
        assert not open_to_all & {8181, 9101}, "catalogues of tables that nobody asked for"
        assert not open_to_all & {at for name, at in ports.items() if not name.startswith("-s3")}


def written(storage: Any) -> bool:
    try:
        storage.pipe("tables/events/a", b"a row")
    except OSError:  # its parts find one another within seconds
        return False
    return True


def test_prometheus_watches_both_servers_and_takes_what_the_collector_sends(
    services: dict[str, Any], tmp_path: Path
) -> None:
    service, port = services["prometheus"], free_port()
    folder = tmp_path / "etc"
    for target, source in mounts(service).items():
        if Path(source).is_file():
            copy = folder / Path(target).relative_to("/etc/prometheus")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(Path(source).read_text())
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    with world.server() as one, world.server("--store", str(tmp_path / "other")) as two:
        said = (folder / "prometheus.yml").read_text().replace(": 15s", ": 1s")
        for number, server in enumerate((one, two), 1):
            assert f"serving-{number}:8080" in said
            said = said.replace(f"serving-{number}:8080", f"127.0.0.1:{server.port}")
        (folder / "prometheus.yml").write_text(said)
        words = [
            word.replace("=/etc/prometheus", f"={folder}").replace("=/prometheus", f"={tmp_path}/tsdb")
            for word in service["command"]
        ]
        command = ["prometheus", *words, f"--web.listen-address=127.0.0.1:{port}"]
        with program(command, tmp_path / "log"):
            url = f"http://127.0.0.1:{port}"
            until(lambda: status_of(f"{url}/-/ready") == 200, "Prometheus is ready")

            def up() -> list[str]:
                query = f'{url}/api/v1/query?query=up{{job="mlops-serving"}}'
                with urllib.request.urlopen(query, timeout=20) as answer:
                    return [series["value"][1] for series in json.load(answer)["data"]["result"]]

            until(lambda: up() == ["1", "1"], "both are up")
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"POST /api/v1/write HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
                status = int(connection.recv(100).split()[1])
            assert status in (204, 400)  # taken, or looked at; 404 without the receiver
