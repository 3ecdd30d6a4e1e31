"""A Redis of the tests' own: on loopback, in a folder, ended by its process id."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

__all__ = ["RedisServer", "running_redis"]


class RedisServer:
    """Debian's redis-server with an append-only file in `folder`, on a port that was free."""

    def __init__(self, folder: Path, password: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self._command = [
            *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *(("--requirepass", password) if password else ()),
        ]
        self._log = folder / "redis.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis.from_url(self.uri)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client.ping()
                return
            except (redis.ConnectionError, redis.BusyLoadingError):
                assert self.process.poll() is None and time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal, if it runs."""
        if self.process is not None:
            self.client.close()
            self.process.send_signal(number)
            self.process.wait(timeout=20)
            self.process = None


@contextmanager
def running_redis(folder: Path, password: str = "") -> Iterator[RedisServer]:
    """A server that runs until the end of the block."""
    server = RedisServer(folder, password)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGKILL)
