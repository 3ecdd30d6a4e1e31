"""Images built by the house's script, containers run by whatever engine DOCKER_HOST names, and a world for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.models.images import Image

from mlops.api_keys import create_key
from mlops.deployment import Deployed, Deployment, write_deployment
from mlops.signing import PUBLIC_KEY
from tests.serving.example import ROOT, Reply, Server, World
from tests.system.load import Load, until

__all__ = [
    *("COMMITTED", "LARGE", "Asking", "Contained", "Shipped"),
    *("answers", "base", "build", "copied", "engine", "pipeline_on_spark", "ran", "running"),
    *("scratch", "seconds_to_ready"),
]

DOCKERFILE = ROOT / "infra" / "docker" / "serving.Dockerfile"
CONTEXT = (
    *("infra/docker", "infra/lock", ".dockerignore", "pyproject.toml"),
    *("mlops", "monitoring", "pipelines", "serving", "training", "usecases"),
)
COMMITTED = "2026-01-31T12:34:56Z"
LARGE = {
    *("tensorflow-cpu", "tensorflow", "keras", "libclang", "xgboost-cpu", "xgboost", "sympy"),
    *("evidently", "plotly", "statsmodels", "faker", "matplotlib", "fonttools"),
}
"""What the pipeline image of the tests goes without, for time's sake."""
HARDENED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}


def engine() -> docker.DockerClient:
    """The engine that answers."""
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        raise AssertionError(f"no container engine answers (DOCKER_HOST names it): {error}") from None
    return client


def base(client: docker.DockerClient) -> str:
    """The base image that the files pin, or what stands under its tag where no registry can be reached; by digest."""
    (pinned,) = re.findall(r"^ARG DEBIAN=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    try:
        client.images.get(pinned)
    except ImageNotFound:
        try:
            client.images.pull(pinned)
        except APIError:
            standing: str = client.images.get(pinned.partition("@")[0]).attrs["RepoDigests"][0]
            return standing
    return pinned


def copied(folder: Path) -> Path:
    """A copy of what images are made of, which nobody changes meanwhile, as a clone of one commit."""
    for path in CONTEXT:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, folder / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, folder / path)
    who = {f"GIT_{role}_{what}": "tests" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {f"GIT_{role}_DATE": COMMITTED for role in ("AUTHOR", "COMMITTER")}
    for line in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "All"]):
        subprocess.run(["git", "-C", folder, *line], env=os.environ | who | when, check=True)
    return folder


def build(tree: Path, target: str, name: str, *options: str) -> Image:
    """Build an image as `make images` does."""
    client = engine()
    line = [tree / "infra/docker/build", target, "--build-arg", f"DEBIAN={base(client)}", *options]
    done = subprocess.run(line, env=os.environ | {"IMAGE": name}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return client.images.get(name)


def pipeline_on_spark(tree: Path) -> Image:
    """The pipeline image of the same file, with Spark and without the frameworks; the tree's locks lose their lines."""
    lock = tree / "infra" / "lock" / "pipeline.txt"
    entries = re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE)
    lock.write_text("".join(entry for entry in entries if entry.partition("==")[0] not in LARGE))
    (tree / "infra" / "lock" / "torch.txt").write_text("")
    return build(tree, "pipeline", "mlops-pipeline-spark")


def scratch() -> dict[str, str]:
    """Where docs/images.md lets the pipeline image write: Java's libraries and a launcher are run from there, which
    Docker forbids unless it is told."""
    pipeline = (ROOT / "docs" / "images.md").read_text().partition("## Pipeline")[2]
    (found,) = re.findall(r"--tmpfs (\S+)", pipeline)
    folder, _, options = found.partition(":")
    return {folder: options or "noexec"}


class Asking(Server):
    """A client of a server in a container, with a key."""

    def __init__(self, port: str, key: str) -> None:
        super().__init__(None, port)  # type: ignore[arg-type]
        self.key = key

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return super().request(method, path, body, {"authorization": f"Bearer {self.key}", **(headers or {})})


class Clients(Load):
    """Load with a key."""

    _server: Asking

    def _connect(self) -> Server:
        return Asking(str(self._server.port), self._server.key)


class Shipped(World):
    """A world as containers have it: `/deployments` and `/keys` to be read, `/state` to be written."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.state = home / "state"
        self.decisions = self.state / "decisions"
        self.access = home / "access"
        for folder in (self.state, self.access, self.pointer.parent):
            folder.mkdir()
        self.state.chmod(0o777)  # the container's user is nobody here
        shutil.copy(self.keys / PUBLIC_KEY, self.access)
        self.key = create_key(self.access / "api-keys.json", "all", ["score", "labels", "admin"])
        (self.access / "api-keys.json").chmod(0o644)

    def deploy(self, version: str, bundle: tuple[Path, str]) -> None:
        """Put a bundle beside the pointer, as promotion does, and point at it."""
        path, digest = bundle
        place = f"bundles/{digest.removeprefix('sha256:')}"
        shutil.copytree(path, self.pointer.parent / place, dirs_exist_ok=True)
        champion = Deployed(
            version=version, candidate="trees", framework="scikit-learn", uri=place, digest=digest
        )
        write_deployment(self.pointer, Deployment(name="example", champion=champion))

    def volumes(self) -> dict[str, dict[str, str]]:
        return {
            str(self.pointer.parent): {"bind": "/deployments", "mode": "ro"},
            str(self.access): {"bind": "/keys", "mode": "ro"},
            str(self.state): {"bind": "/state", "mode": "rw"},
        }


class Contained:
    """A container that serves a world."""

    def __init__(self, container: Container, world: Shipped) -> None:
        self.container, self.world = container, world

    def client(self) -> Asking:
        """A connection of its own."""
        self.container.reload()
        (binding, *_) = self.container.ports["8080/tcp"]
        return Asking(binding["HostPort"], self.world.key)

    def ready(self) -> Asking:
        """A client, once the server says that it is ready."""
        client = self.client()
        until(lambda: answers(client), 30)
        return client

    def load(self, first: int = 0) -> Clients:
        return Clients(self.client(), first)

    def said(self, *command: str) -> str:
        """What a command in it wrote; asked again where an engine lost that, as podman at times does."""
        for _ in range(10):
            text: str = self.container.exec_run(list(command)).output.decode()
            if text:
                break
        return text

    def logs(self) -> str:
        text: str = self.container.logs().decode()
        return text


def answers(client: Server) -> bool:
    """Whether a server answers that it is ready; nothing may be listening yet."""
    try:
        return client.get("/readyz").status == 200
    except (OSError, EOFError):
        client._connection.close()
        return False


@contextmanager
def running(
    image: Image, world: Shipped, *, user: str | None = None, kept: bool = True, **environment: str
) -> Iterator[Contained]:
    """A container without rights, on a root that cannot be written; it is removed at the end.

    Args:
        user: who runs it, if not the image's own user.
        kept: whether the world's folder holds its state, and not a volume that goes with the container.
    """
    variables = {"MLOPS_SERVING_POLL_SECONDS": "0.05", "MLOPS_SERVING_DRAIN_SECONDS": "0"} | environment
    container = engine().containers.run(
        image.id,
        detach=True,
        environment=variables,
        ports={"8080/tcp": ("127.0.0.1", None)},
        volumes={
            folder: place for folder, place in world.volumes().items() if kept or place["bind"] != "/state"
        },
        user=user,
        **HARDENED,
    )
    try:
        yield Contained(container, world)
    finally:
        container.remove(force=True, v=True)


def seconds_to_ready(contained: Contained) -> float:
    """From the start of a container that does not run until it says that it is ready."""
    began = time.monotonic()
    contained.container.start()
    contained.ready()
    return time.monotonic() - began


def ran(image: Image, command: list[str], *, status: int = 0, **options: Any) -> str:
    """What a command said that ended with `status`, in a container without rights whose root cannot be written.

    /tmp is mounted as Docker does it, whatever the engine: nothing can be run from there, unless options say so.
    """
    told = {"tmpfs": {"/tmp": "noexec,nosuid,nodev"}, **HARDENED} | options
    container = engine().containers.run(image.id, command, detach=True, **told)
    try:
        ended = container.wait(timeout=600)["StatusCode"]
        said: str = container.logs().decode()
    finally:
        container.remove(force=True, v=True)
    assert ended == status, said[-3000:]
    return said
