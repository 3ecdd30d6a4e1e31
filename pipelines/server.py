"""The scoring server of a home: what it is told, and as a child process."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from pipelines.process import running

__all__ = ["running_server", "serving_command", "variables"]


def variables(settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """Variables with which `python -m serving` serves this home's champion, unless `env` names other places.

    The store's URI is among them, as it may hold a password, and command lines can be read by all.
    """
    return {
        "MLOPS_SERVING_POINTER": str(settings.pointer),
        "MLOPS_SERVING_DECISIONS": str(settings.decisions),
        "MLOPS_SERVING_PUBLIC_KEY": str(settings.keys / PUBLIC_KEY),
        **{name: value for name, value in env.items() if value or not name.startswith("MLOPS_SERVING_")},
        "MLOPS_STORE": settings.store_uri,
    }


def serving_command(settings: Settings) -> str:
    """What to type to serve this home's champion on one's own machine."""
    return shlex.join([sys.argv[0], "--home", str(settings.home), "serve", "--no-keys"])


@contextmanager
def running_server(settings: Settings, *, port: int) -> Iterator[str]:
    """Start the server on loopback, for this machine alone; yield its base URL when it is ready; drain it at the end.

    It is this home's, whatever the variables of this process say of a server.

    Raises:
        SetupError: it ended, or was not ready in time.
    """
    url = f"http://127.0.0.1:{port}"
    log = settings.home / "serving.log"
    others = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_SERVING_")}
    with running(
        "the scoring server",
        # Nobody balances load over it, so it need not wait at its end.
        [sys.executable, "-m", "serving", "--no-keys", "--port", str(port), "--drain-seconds", "0"],
        health=f"{url}/readyz",
        log=log,
        patience_s=30,
        variables=variables(settings, others),
    ):
        yield url
