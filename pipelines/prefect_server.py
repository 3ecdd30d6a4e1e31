"""Prefect's server, as processes of the platform find it: the one that is named, or one that is started beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from mlops.errors import ConfigError
from mlops.quiet import telemetry_off
from pipelines.ports import free_port
from pipelines.process import running

__all__ = ["embedded", "named_server", "prepare"]

_SETTINGS = {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # a page would offer them; it takes a good half second
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # it would write to the home folder
    "PREFECT_SERVER_UI_ENABLED": "false",
}


def prepare(home: Path, environment: MutableMapping[str, str], **settings: str) -> None:
    """Have Prefect keep its files in `home`, tell nobody, and follow `settings` where the environment has none."""
    home.mkdir(parents=True, exist_ok=True)
    telemetry_off(environment)
    environment["PREFECT_HOME"] = str(home)  # profiles elsewhere may lead to other servers
    environment["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] = str(home / "storage")  # which does not follow it
    for name, value in settings.items():
        environment.setdefault(name, value)


def named_server() -> str:
    """The URL of the server that PREFECT_API_URL names.

    Raises:
        ConfigError: it names none.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    raise ConfigError(
        "is not set",
        where="PREFECT_API_URL",
        todo="name a server, as http://127.0.0.1:4200/api (docs/prefect.md)",
    )


@contextmanager
def embedded(home: Path) -> Iterator[None]:
    """Prefect's own server with its database in `home`, or the one that PREFECT_API_URL names.

    Raises:
        SetupError: the server does not start.
    """
    # What fails is raised, and told in one line.
    prepare(home, os.environ, **_SETTINGS, PREFECT_LOGGING_LEVEL="CRITICAL")
    if "PREFECT_API_URL" in os.environ:
        yield
        return
    port = str(free_port())
    line = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--port", port]
    url = f"http://127.0.0.1:{port}/api"
    with running("Prefect", line, health=f"{url}/health", log=home / "server.log", patience_s=90):
        os.environ["PREFECT_API_URL"] = url
        try:
            yield
        finally:
            del os.environ["PREFECT_API_URL"]
