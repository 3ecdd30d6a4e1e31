"""A real server that asks for keys, and how to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.serving.example import ROOT, World

SCORE = "/v1/score"


class Secured:
    """A server with keys that runs: its process, its port and all that it has said."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            return Answer.of(connection, method, path, body, headers)
        finally:
            connection.close()

    def log(self) -> str:
        return self._log.read_text()


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @classmethod
    def of(
        cls,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: object,
        headers: dict[str, str],
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body), named)
        response = connection.getresponse()
        text = response.read().decode()
        return cls(response.status, {name.lower(): value for name, value in response.getheaders()}, text)

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@contextmanager
def serving(
    world: World, *more: str, prefix: Sequence[str] = (), env: dict[str, str] | None = None
) -> Iterator[Secured]:
    """A server of the world that asks for the keys in its file."""
    keys = ("--keys", str(world.home / "access" / "api-keys.json"))
    line = [*prefix, *(word for word in world.command() if word != "--no-keys"), *keys, *more]
    log = world.home / "secured.log"
    with log.open("ab") as said:
        process = subprocess.Popen(
            line, cwd=ROOT, env=os.environ | (env or {}), stdout=subprocess.PIPE, stderr=said
        )
    assert process.stdout is not None
    try:
        first = process.stdout.readline().decode()
        assert " on http://" in first, log.read_text()
        yield Secured(process, int(first.rsplit(":", 1)[1]), log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


def family(pid: int) -> list[psutil.Process]:
    """A process and its children."""
    process = psutil.Process(pid)
    return [process, *process.children()]
