"""The stack of infra/compose.yaml, started by Compose 2 from that very file, on whatever engine DOCKER_HOST names.

Images of others cannot be had everywhere: tests/system/compose builds what stands in for them, and names them in a
second file, which changes images and what podman lacks. All else is the stack's own. Grafana and the collector have
no stand-in.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.models.containers import Container

from tests.serving.example import ROOT
from tests.system.compose_stack import SECRETS, free_port
from tests.system.containers import base, build, copied, engine, pipeline_on_spark

__all__ = ["ABSENT", "SERVICES", "Stack", "composed"]

HERE = ROOT / "tests" / "system" / "compose"
ABSENT = {"grafana", "collector"}
SERVICES = (
    "proxy",
    "serving-1",
    "serving-2",
    "redis",
    "postgres",
    "objects",
    "mlflow",
    "prefect",
    "prometheus",
)
PORTS = ("PROXY_PORT", "MLFLOW_PORT", "PREFECT_PORT", "GRAFANA_PORT")


class Stack:
    """A project of its own, with its own ports and secrets."""

    def __init__(self, folder: Path) -> None:
        self.client = engine()
        self.project = f"mlops-test-{os.getpid()}"
        self.ports = {name: str(free_port()) for name in PORTS}
        self.env = folder / "env"
        self.write_env(SECRETS)

    def write_env(self, secrets: dict[str, str]) -> None:
        self.env.write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def compose(self, *words: str, status: int = 0) -> str:
        """What `docker compose WORD…` said of this project; it runs in a container that may ask the engine."""
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        line = ["--env-file", str(self.env), "--project-name", self.project, "--progress", "plain"]
        for file in (ROOT / "infra" / "compose.yaml", HERE / "stand-ins.yaml"):
            line += ["--file", str(file)]
        mounts = [f"{ROOT}:{ROOT}:ro", f"{self.env.parent}:{self.env.parent}:ro"]
        if where.startswith("unix://"):
            mounts.append(f"{where.removeprefix('unix://')}:/var/run/docker.sock")
            where = "unix:///var/run/docker.sock"
        container = self.client.containers.run(
            "mlops-stand-in-compose",
            [*line, *words],
            detach=True,
            network_mode="host",
            environment={"DOCKER_HOST": where, "MLOPS_VERSION": "latest", **self.ports},
            volumes=mounts,
        )
        try:
            code = container.wait(timeout=300)["StatusCode"]
            said: str = container.logs().decode()
        finally:
            container.remove(force=True)
        assert code == status, said[-3000:] + self.logs()
        return said

    def containers(self) -> dict[str, Container]:
        """What there is of it, by service."""
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        found = self.client.containers.list(all=True, ignore_removed=True, filters={"label": labels})
        return {one.labels["com.docker.compose.service"]: one for one in found}

    def logs(self) -> str:
        return "".join(
            f"\n== {name}: {one.status}\n{one.logs(tail=5).decode()[-600:]}"
            for name, one in self.containers().items()
        )

    def said(self, service: str, script: str) -> str:
        """What a shell in a service wrote, up to its `end`; asked again where an engine lost it, as podman may."""
        for _ in range(10):
            text: str = (
                self.containers()[service].exec_run(["sh", "-c", f"{script}; echo end"]).output.decode()
            )
            if text.endswith("end\n"):
                return text.removesuffix("end\n")
        raise AssertionError(f"nothing came back from {service}")

    def healthy(self, *services: str) -> bool:
        found = self.containers()
        return all(
            name in found and found[name].attrs["State"].get("Health", {}).get("Status") == "healthy"
            for name in services
        )


def _ask(project: str, stop: threading.Event) -> None:
    """Run health checks as long as the stack runs: podman leaves that to systemd, which is not everywhere.

    As an engine would, at a container's own interval, and for the first time when that has passed: whoever waits until
    a server is healthy goes on no sooner than there.
    """
    client = docker.from_env(timeout=30)
    due: dict[str, float] = {}
    while not stop.wait(0.5):
        for container in client.containers.list(
            filters={"label": f"com.docker.compose.project={project}"}, ignore_removed=True
        ):
            check = container.attrs["Config"].get("Healthcheck") or {}
            next_one = time.monotonic() + check.get("Interval", 0) / 1e9
            if time.monotonic() >= due.setdefault(container.id, next_one):
                due[container.id] = next_one
                client.api.get(f"{client.api.base_url}/v4.0.0/libpod/containers/{container.id}/healthcheck")


def _images(folder: Path) -> None:
    """Our two images, as their own tests build them, and the stand-ins."""
    tree = copied(folder / "tree")
    build(tree, "serving", "mlops-serving")
    pipeline_on_spark(tree)
    context = folder / "context"
    shutil.copytree(HERE, context)
    shutil.copy(Path(sys.executable).parent / "weed", context)
    client = engine()
    for target in ("compose", "proxy", "redis", "postgres", "objects", "prometheus"):
        client.images.build(
            path=str(context),
            tag=f"mlops-stand-in-{target}:latest",
            target=target,
            buildargs={"DEBIAN": base(client)},
            network_mode="host",
            rm=True,
        )


@contextmanager
def composed(folder: Path) -> Iterator[Stack]:
    """The stack, on its way up; it is gone at the end, volumes included."""
    _images(folder)
    stack, stop = Stack(folder), threading.Event()
    asking = threading.Thread(target=_ask, args=(stack.project, stop), daemon=True)
    podman = any("Podman" in part["Name"] for part in stack.client.version().get("Components", []))
    if podman:
        asking.start()
    try:
        stack.compose("up", "--detach", "--no-build", *SERVICES)
        yield stack
    finally:
        stop.set()
        if podman:
            asking.join(timeout=60)
        stack.write_env(SECRETS)
        stack.compose("down", "--volumes", "--timeout", "5")
