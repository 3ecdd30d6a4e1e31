"""A server as a child process: started, waited for, stopped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from mlops.errors import SetupError

__all__ = ["running"]

_STOP_S = 10


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    health: str,
    log: Path,
    patience_s: float,
    variables: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Start a server, go on once the URL `health` answers 200, and let it drain at the end.

    Its environment variables are `variables`, or this process's. It has a session of its own: Ctrl-C at a terminal
    reaches the caller only, which then stops it in its turn.

    Raises:
        SetupError: it ended, or did not answer in time; the end of its log is in the message.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, env=variables
        )
        try:
            _wait(name, process, health, log, patience_s)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], health: str, log: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SetupError(f"{name} ended with {process.returncode}: {_tail(log)}", where=log)
        try:
            if httpx.get(health, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.05)
    raise SetupError(f"{name} did not answer within {patience_s:.0f} s: {_tail(log)}", where=log)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
