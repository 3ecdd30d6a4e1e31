"""The service's own log, on stderr: a line of JSON for each message, or a line of text for a person.

A message about a request names it: `log.error("…", extra=about(request))`. What a request holds, keys and events
above all, is never part of a message.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from serving.http import Request

__all__ = ["AGAIN_S", "about", "say_why", "set_up"]

AGAIN_S = 10.0
"""Before the same is said again of another request. What was unforeseen is always said."""

_ABOUT = ("request_id", "method", "path", "caller", "peer")
_LONGEST = 200
_MOST = 1000


def set_up(format: Literal["json", "text"], worker: int | None = None) -> None:
    """Let this process log so, from level INFO on.

    Args:
        worker: which one it is; the supervisor has none.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Calm())
    handler.setFormatter(_JsonFormatter(worker) if format == "json" else _TextFormatter(worker))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def say_why(why: str, format: Literal["json", "text"]) -> None:
    """Say why the server cannot start: a plain line to a person, to a collector a line like all others."""
    if format == "json":
        set_up(format)
        logging.getLogger("serving").critical("%s", why)
    else:
        print(why, file=sys.stderr, flush=True)


def about(request: Request) -> dict[str, str]:
    """What a message says of a request, for `extra`."""
    return {
        "request_id": request.id,
        "method": request.method,
        "path": request.path[:_LONGEST],
        "caller": request.caller,
        "peer": request.peer,
    }


class _Calm(logging.Filter):
    """Lets a message about requests pass once in a while, however many there are that it is true of."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "request_id", None) or record.exc_info:
            return True
        key, now = (record.name, record.getMessage()), time.monotonic()
        at, kept_back = self._said.get(key, (-AGAIN_S, 0))
        if now - at < AGAIN_S:
            self._said[key] = at, kept_back + 1
            return False
        if len(self._said) >= _MOST:
            self._said.clear()
        self._said[key] = now, 0
        if kept_back:
            record.msg, record.args = f"{key[1]} (and {kept_back} times since it was said last)", ()
        return True


class _JsonFormatter(logging.Formatter):
    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if self._worker is not None:
            line["worker"] = self._worker
        line |= {name: value for name in _ABOUT if (value := getattr(record, name, None))}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line)  # in ASCII, as a message may hold half a surrogate pair


class _TextFormatter(logging.Formatter):
    def __init__(self, worker: int | None) -> None:
        who = "" if worker is None else f"worker {worker} "
        super().__init__(f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        id_ = getattr(record, "request_id", "")
        return f"{text} [{id_}]" if id_ else text
