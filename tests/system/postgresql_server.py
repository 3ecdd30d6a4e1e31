"""A PostgreSQL cluster of the tests' own: on loopback, in a folder, stopped by its own pg_ctl."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ADMINISTRATOR", "PASSWORD", "PostgresqlServer", "running_postgresql"]

ADMINISTRATOR, PASSWORD = "administrator", "an administrator's password"
_NOBODY = "postgres"  # whom Debian's package makes: the server refuses to run as root


class PostgresqlServer:
    """Debian's server on a port that was free; `env` is how its administrator's tools find it."""

    def __init__(self, folder: Path) -> None:
        self.tools = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.env = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": ADMINISTRATOR}
        self._folder, self._data = folder, folder / "data"
        self._pid = self._data / "postmaster.pid"
        if os.getuid() == 0:
            shutil.chown(folder, _NOBODY)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            *("initdb", "--pgdata", str(self._data), "--username", ADMINISTRATOR, "--pwfile", str(password)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off -k {self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "--pgdata", str(self._data), "--wait", "--log", log, "-o", options)

    def start_again(self) -> None:
        """Start it, unless it runs."""
        if not self._pid.exists():
            self.start()

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, if it runs; `immediate` is as a crash for whoever is connected."""
        if self._pid.exists():
            self._run("pg_ctl", "stop", "--pgdata", str(self._data), "--wait", "--mode", mode)

    def dump(self) -> bytes:
        """All that its administrator's database holds, as SQL."""
        return subprocess.run(
            [str(self.tools / "pg_dump"), "postgres"],
            env={**os.environ, **self.env, "PGPASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        ).stdout

    def _run(self, tool: str, *arguments: str) -> None:
        user = _NOBODY if os.getuid() == 0 else None
        done = subprocess.run(
            [str(self.tools / tool), *arguments],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=(self._folder / "output").open("ab"),  # a pipe would stay open as long as the server runs
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (self._folder / "output").read_text()


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """A server that runs until the end of the block, in a folder that its user can reach."""
    with tempfile.TemporaryDirectory(prefix="mlops-postgresql-") as folder:
        server = PostgresqlServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
