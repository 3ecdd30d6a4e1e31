"""What the tests of infra/compose.yaml share: the rendered file, and its programs run without containers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import yaml

from tests.serving.example import ROOT

__all__ = [
    "INFRA", "SECRETS", "config", "environment", "free_port", "mounts", "nginx_in", "program", "redis_of", "rendered",
    "status_of", "until",
]  # fmt: skip

INFRA = ROOT / "infra"
SECRETS = {
    name: f"drawn-for-the-test-{number}"
    for number, name in enumerate(
        ("POSTGRES_PASSWORD", "MLFLOW_PASSWORD", "PREFECT_DB_PASSWORD", "MONITOR_PASSWORD", "REDIS_PASSWORD",
         "S3_ACCESS_KEY", "S3_SECRET_KEY", "PREFECT_PASSWORD", "GRAFANA_PASSWORD")
    )
}  # fmt: skip
_NOBODY = "nobody"


def config(secrets: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What Debian's docker-compose makes of the file.

    It is of 2021, and the line that names the project is newer. It stays beside the Compose 2 that starts the stack
    (tests/system/composed.py) as it needs no engine: Debian 12 has no other, and the newer one runs in a container.
    """
    text = re.sub(r"^name: .*$", "", (INFRA / "compose.yaml").read_text(), flags=re.MULTILINE)
    return subprocess.run(
        [
            "docker-compose",
            "--project-directory",
            str(INFRA),
            "--project-name",
            "mlops",
            "--file",
            "-",
            "config",
        ],
        input=text,
        cwd=INFRA,
        env={"PATH": os.environ["PATH"], **secrets},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rendered() -> dict[str, Any]:
    """The services, with secrets of the tests'."""
    ran = config(SECRETS)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = yaml.safe_load(ran.stdout)
    return found


def mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """What a service sees where: sources by target."""
    found = {}
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        found[target] = source
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def until(holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.05)


def status_of(url: str, headers: Mapping[str, str] | None = None) -> int:
    """Of the answer to a GET; 0 if there is none."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(headers or {})), timeout=20
        ) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def program(
    command: list[str], log: Path, *, number: signal.Signals = signal.SIGTERM, **popen: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until the end of the block; it is killed if the signal does not end it."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **popen)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(timeout=120)  # MLflow takes its time where there is little of it
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)
            raise


@contextmanager
def nginx_in(ports: list[int]) -> Iterator[tuple[list[str], int, Path, dict[str, Any]]]:
    """A folder with the proxy's configuration, whose servers are on loopback.

    Debian's nginx is older than asking for names again, so that `resolve` is left out: loopback's do not change.

    Yields:
        The command that starts it, its port, the folder, and what to start it with so that it is not root.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-nginx-") as name:
        folder, port = Path(name), free_port()
        upstream = (INFRA / "compose" / "nginx" / "upstream.conf").read_text()
        for number, there in enumerate(ports, 1):
            upstream, found = re.subn(f"serving-{number}:8080 resolve", f"127.0.0.1:{there}", upstream)
            assert found == 1
        conf = (INFRA / "compose" / "nginx" / "nginx.conf").read_text()
        here = {
            "listen 8080": f"listen 127.0.0.1:{port}",
            "/tmp/": f"{folder}/",
            "/dev/stdout": f"{folder}/access",
        }
        for old, new in here.items():
            assert old in conf
            conf = conf.replace(old, new)
        (folder / "nginx.conf").write_text(conf)
        (folder / "upstream.conf").write_text(upstream)
        (folder / "resolver.conf").write_text("")  # which the stack makes of what the engine says
        user = _NOBODY if os.getuid() == 0 else None
        if user:
            folder.chmod(0o755)
            shutil.chown(folder, user)
        nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert nginx is not None
        command = [nginx, "-e", "stderr", "-c", str(folder / "nginx.conf")]
        yield command, port, folder, {"user": user, "cwd": folder, "extra_groups": [] if user else None}


def environment(service: dict[str, Any], **changes: str) -> dict[str, str]:
    """Of a service, with what this machine needs beside it."""
    said = {name: str(value) for name, value in service.get("environment", {}).items()}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", **said, **changes}


@contextmanager
def redis_of(services: dict[str, Any], folder: Path) -> Iterator[int]:
    """The stack's Redis: its configuration, and the shell that gives it the password."""
    folder.mkdir()
    port, service = free_port(), services["redis"]
    (configuration,) = (Path(s) for t, s in mounts(service).items() if t == "/etc/redis/redis.conf")
    conf = configuration.read_text()
    for old, new in (
        ("bind * -::*", "bind 127.0.0.1"),
        ("port 6379", f"port {port}"),
        ("dir /data", f"dir {folder}"),
    ):
        assert old in conf
        conf = conf.replace(old, new)
    (folder / "redis.conf").write_text(conf)
    (script,) = service["command"]
    for old, new in (
        ("$$", "$"),
        ("/tmp/redis.conf", f"{folder}/own.conf"),
        ("/etc/redis/redis.conf", f"{folder}/redis.conf"),
    ):
        assert old in script
        script = script.replace(old, new)
    with program([*service["entrypoint"], script], folder / "log", env=environment(service)):
        client = redis.Redis(port=port, password=SECRETS["REDIS_PASSWORD"])

        def answers() -> bool:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.BusyLoadingError):
                return False

        until(answers, "Redis answers")
        client.close()
        yield port
