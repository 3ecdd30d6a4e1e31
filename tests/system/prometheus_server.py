"""A Prometheus of the tests' own, with the project's rules: on loopback, in a folder, ended by its process id."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["RULES", "Prometheus", "running_prometheus"]

RULES = Path(__file__).resolve().parents[2] / "infra" / "prometheus"


class Prometheus:
    """Debian's prometheus, which looks every second and does not wait long before an alert fires.

    Args:
        folder: its own.
        target: host and port of the server that it scrapes.
        history: samples in the OpenMetrics format that it has from before.
    """

    def __init__(self, folder: Path, target: str, history: Sequence[str] = ()) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        folder.mkdir()
        config = (RULES / "prometheus.yml").read_text().replace("127.0.0.1:8080", target)
        (folder / "prometheus.yml").write_text(config.replace(": 15s", ": 1s"))
        for rules in ("recording.yml", "alerts.yml"):
            (folder / rules).write_text((RULES / rules).read_text().replace("for: 30s", "for: 1s"))
        if history:
            samples = folder / "history.om"
            samples.write_text("\n".join([*history, "# EOF", ""]))
            command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", samples, folder / "data"]
            subprocess.run(command, capture_output=True, timeout=60, check=True)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            *("prometheus", f"--config.file={self._folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"),
        ]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[float]:
        """The values of the series of an expression, now."""
        return [float(series["value"][1]) for series in self.ask("query", query=expression)["result"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_until(self, true: Callable[[Prometheus], bool], what: str, seconds: float = 30.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not true(self):
            assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
            time.sleep(0.2)

    def is_ready(self) -> bool:
        """Whether it answers."""
        assert self.process.poll() is None, (self._folder / "log").read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=20)


@contextmanager
def running_prometheus(folder: Path, target: str, history: Sequence[str] = ()) -> Iterator[Prometheus]:
    """A Prometheus that runs until the end of the block."""
    prometheus = Prometheus(folder, target, history)
    try:
        prometheus.wait_until(Prometheus.is_ready, "ready")
        yield prometheus
    finally:
        prometheus.stop()
