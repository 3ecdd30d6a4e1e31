"""The service's own log, on stderr: a line of JSON for each message, or a line of text for a person.

A message about a request names it: `log.error("…", extra=about(request))`. What a request holds, keys and events
above all, is never part of a message.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from serving.http import Request

__all__ = ["about", "set_up"]

_ABOUT = ("request_id", "method", "path", "caller", "peer")
_LONGEST = 200


def set_up(format: Literal["json", "text"], worker: int | None = None) -> None:
    """Let this process log so, from level INFO on.

    Args:
        worker: which one it is; the supervisor has none.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(worker) if format == "json" else _TextFormatter(worker))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def about(request: Request) -> dict[str, str]:
    """What a message says of a request, for `extra`."""
    return {
        "request_id": request.id,
        "method": request.method,
        "path": request.path[:_LONGEST],
        "caller": request.caller,
        "peer": request.peer,
    }


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
