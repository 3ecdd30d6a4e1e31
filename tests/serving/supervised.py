"""A server's log and processes, as the tests of its supervisor look at them."""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable

import psutil

from tests.serving.example import Server, World

__all__ = ["answers", "changed", "ended", "loads", "log_of", "until"]


def log_of(world: World) -> str:
    return (world.home / "serving.log").read_text()


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def loads(world: World) -> int:
    """How many workers have loaded the model."""
    return log_of(world).count("version 1 of example answers")


def answers(server: Server) -> bool:
    try:
        return Server(server.process, str(server.port)).get("/livez").status == 200
    except (OSError, http.client.HTTPException):
        return False


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def changed(**values: object) -> list[str]:
    """What starts a server whose supervisor has other values."""
    changes = "".join(f"supervisor.{name} = {value!r}; " for name, value in values.items())
    code = f"import sys; from serving import __main__, supervisor; {changes}sys.exit(__main__.main())"
    return [sys.executable, "-c", code]
