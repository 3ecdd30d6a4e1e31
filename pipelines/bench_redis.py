"""A Redis for a benchmark: this machine's own redis-server, on loopback, ended with the block."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from mlops.errors import SetupError
from pipelines.ports import free_port

__all__ = ["redis_server"]

_START_S = 20.0


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """Yield the URI of a new server that writes what it holds into `folder`; None without redis-server on the PATH.

    Raises:
        SetupError: it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    folder.mkdir(parents=True)
    port = free_port()
    line = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    line += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    uri = f"redis://127.0.0.1:{port}/0"
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as process:
        try:
            _wait(process, uri, folder)
            yield uri
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], uri: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    client = redis.Redis.from_url(uri)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.ping()
            client.close()
            return
        except (redis.ConnectionError, redis.BusyLoadingError):
            time.sleep(0.05)
    raise SetupError("redis-server does not start", where=folder, todo="run redis-server by hand to see why")
