"""The scoring server of a home, as a command line and as a child process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from pipelines.process import running

__all__ = ["command", "environment", "running_server"]


def command(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    keys: Path | None = None,
) -> list[str]:
    """The command line that serves this home's champion, in the variables of `environment`.

    Args:
        keys: the file of API keys; without one, everybody on this machine may ask.
    """
    return [
        *(sys.executable, "-m", "serving"),
        *("--pointer", str(settings.pointer)),
        *(() if settings.store else ("--store", settings.store_uri)),
        *("--decisions", str(settings.decisions)),
        *("--public-key", str(settings.keys / PUBLIC_KEY)),
        *("--host", host),
        *("--port", str(port)),
        *("--workers", str(workers)),
        *(("--keys", str(keys)) if keys else ("--no-keys",)),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """This process's variables, with the store's URI: it may hold a password, and command lines can be read by all."""
    return {**os.environ, "MLOPS_STORE": settings.store}


@contextmanager
def running_server(settings: Settings, *, port: int) -> Iterator[str]:
    """Start the server on loopback, for this machine alone; yield its base URL when it is ready; drain it at the end.

    Raises:
        SetupError: it ended, or was not ready in time.
    """
    url = f"http://127.0.0.1:{port}"
    log = settings.home / "serving.log"
    line = [*command(settings, port=port), "--drain-seconds", "0"]  # nobody balances load over it
    with running(
        "the scoring server",
        line,
        health=f"{url}/readyz",
        log=log,
        patience_s=30,
        variables=environment(settings),
    ):
        yield url
