"""The Java process that Spark starts, known from its first moment on: a start that was interrupted has to end it.

PySpark tells of the process once it is up. Whoever gives up before takes away the folder in which Java wants to say
its port, and Java, which cannot, then neither goes on nor ends.
"""

from __future__ import annotations

import subprocess
from typing import Any

from pyspark import java_gateway

__all__ = ["java_process", "kill"]


class _Java(subprocess.Popen[bytes]):
    latest: _Java | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _Java.latest = self
        super().__init__(*args, **kwargs)


java_gateway.Popen = _Java


def java_process() -> subprocess.Popen[bytes] | None:
    """The process that was started last, though it may not be up; none where Spark itself started Python."""
    process = _Java.latest
    return process if getattr(process, "pid", None) else None  # it may not even be one


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it at once; one that has ended stays so."""
    process.kill()
    process.wait()
