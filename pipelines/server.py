"""The scoring server as a child process: started, waited for, stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mlops.errors import SetupError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY

__all__ = ["command", "running_server"]


def command(settings: Settings, *, host: str = "127.0.0.1", port: int = 8080) -> list[str]:
    """The command line that serves this home's champion."""
    return [
        *(sys.executable, "-m", "serving"),
        *("--pointer", str(settings.pointer)),
        *("--store", str(settings.store)),
        *("--decisions", str(settings.decisions)),
        *("--public-key", str(settings.keys / PUBLIC_KEY)),
        *("--host", host),
        *("--port", str(port)),
    ]


@contextmanager
def running_server(settings: Settings, *, port: int, patience_s: float = 30.0) -> Iterator[str]:
    """Start the server on loopback, yield its base URL when it is ready, and drain it at the end.

    Raises:
        SetupError: it ended, or was not ready in time; the end of its log is in the message.
    """
    log = settings.home / "serving.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        # A session of its own: Ctrl-C reaches this process only, which then drains the server.
        process = subprocess.Popen(
            command(settings, port=port), stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait_until_ready(url, process, log, patience_s)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SetupError(f"the server ended with {process.returncode}: {_tail(log)}", where=log)
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.05)
    raise SetupError(f"the server was not ready after {patience_s:.0f} s: {_tail(log)}", where=log)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
