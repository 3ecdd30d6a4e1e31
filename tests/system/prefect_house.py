"""A Prefect server for tests, and what they ask of it: over its own HTTP API, and with the `mlops` command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from mlops.quiet import telemetry_off
from pipelines.ports import free_port
from pipelines.process import running
from tests.e2e.two_candidates import TWO_CANDIDATES
from tests.system.postgresql_server import ADMINISTRATOR, PASSWORD, PostgresqlServer, running_postgresql

__all__ = ["House", "house", "house_on_postgresql", "kill", "wait"]

_ENDED = ("COMPLETED", "FAILED", "CANCELLED")
_SETTINGS = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "3",  # each look writes, and SQLite has one writer
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
}


class House:
    """A server, and homes whose flows it runs."""

    def __init__(self, url: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.url, self.folder = url, folder
        self._environment = {**environment, "PREFECT_API_URL": url}
        self._api = httpx.Client(base_url=url, timeout=180)  # SQLite, on a loaded machine

    def environment(self, **more: str) -> dict[str, str]:
        """What a process is started with."""
        return {**self._environment, **more}

    def command(self, home: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
        """An `mlops` command on a home."""
        return subprocess.run(
            [Path(sys.executable).with_name("mlops"), "--home", str(home), *map(str, words)],
            capture_output=True,
            text=True,
            timeout=600,
            env=self.environment(**more),
            check=False,
        )

    def deploy(self, home: Path, pool: str, *words: object, events: Path) -> str:
        """Deploy the flows of a home; nothing runs by the clock. Returns the answer, JSON."""
        clocks = [word for flow in ("features", "monitor", "retrain") for word in (f"--{flow}", "never")]
        named = ("--events", events, "--pool", pool)
        done = self.command(home, "prefect", "deploy", *named, *clocks, *words, "--json")
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    @contextmanager
    def worker(self, home: Path, pool: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker of a home's pool; it and all that it started are gone with the block."""
        home.mkdir(parents=True, exist_ok=True)
        with (home / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("mlops"),
                    "--home",
                    str(home),
                    "prefect",
                    "worker",
                    "--pool",
                    pool,
                    "--wait",
                ],
                stdout=log,
                stderr=log,
                env=self.environment(**more),
            )
            try:
                yield process
            finally:
                kill(process)

    def ask(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        """What the server has of a kind: deployments, flow_runs, task_runs, automations, artifacts."""
        found: list[dict[str, Any]] = self._post(f"/{kind}/filter", filters)
        return found

    def _post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        """Ask as Prefect's own client does: again, where SQLite was busy."""
        deadline = time.monotonic() + 120
        while (answer := self._api.request(method, path, **content)).status_code == 503:
            assert time.monotonic() < deadline, f"{method} {path}: {answer.text}"
            time.sleep(1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployments(self, pool: str) -> dict[str, dict[str, Any]]:
        """The deployments of a pool, by their flow's name."""
        mine = [each for each in self.ask("deployments") if each["work_pool_name"] == pool]
        named = {each["id"]: each["name"] for each in self.ask("flows")}
        found = {named[each["flow_id"]]: each for each in mine}
        assert len(found) == len(mine)
        return found

    def start(self, pool: str, flow: str, **parameters: Any) -> str:
        """Ask for a run of a deployment; returns its id."""
        deployment = self.deployments(pool)[flow]["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self._post(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def emit(self, event: Mapping[str, Any]) -> None:
        """Send an event."""
        self._post("/events", [event])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name that there were, as many as a page holds."""
        found: list[dict[str, Any]] = self._post("/events/filter", {"filter": {"event": {"name": [name]}}})[
            "events"
        ]
        return found

    def retry(self, run: str) -> None:
        """Begin a run again, as who presses Retry."""
        self._post(f"/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}})

    def run(self, run: str) -> dict[str, Any]:
        """A run of a flow."""
        found: dict[str, Any] = self._ask("GET", f"/flow_runs/{run}")
        return found

    def ended(self, run: str, *, within_s: float) -> dict[str, Any]:
        """A run once it has ended for good: crashed is not."""
        wait(
            lambda: self.run(run)["state_type"] in _ENDED, within_s=within_s, what=lambda: str(self.run(run))
        )
        return self.run(run)


def wait(done: Callable[[], bool], *, within_s: float, what: Callable[[], str]) -> None:
    """Wait until it is done."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what()}"
        time.sleep(0.5)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 a process and all that it started."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in reversed(family):  # the one who could tell first
            with suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait(timeout=60)


@contextmanager
def house_on_postgresql(folder: Path) -> Iterator[House]:
    """Start a server and its database: on SQLite, which has one writer, a busy machine's server may lose events."""
    with running_postgresql() as postgresql, house(folder, postgresql=postgresql) as started:
        yield started


@contextmanager
def house(folder: Path, *, postgresql: PostgresqlServer | None = None) -> Iterator[House]:
    """Start a server with all its services, on SQLite unless another database is given."""
    environment = {**os.environ, **TWO_CANDIDATES, **_SETTINGS, "PREFECT_HOME": str(folder / "prefect")}
    environment |= {"HOME": str(folder / "nobody")}
    if postgresql:
        place = f"{ADMINISTRATOR}:{quote(PASSWORD)}@127.0.0.1:{postgresql.port}/postgres"
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = f"postgresql+asyncpg://{place}"
    telemetry_off(environment)
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    line = [sys.executable, "-m", "prefect", "server", "start", "--port", port]
    with running(
        "Prefect",
        line,
        health=f"{url}/health",
        log=folder / "server.log",
        patience_s=240,
        variables=environment,
    ):
        yield House(url, folder, environment)
