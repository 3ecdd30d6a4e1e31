"""What this worker could not write down: the log's disk is full, or the store's. Said once when it begins and once when
it is over, however many requests it was that were refused meanwhile.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

from mlops.errors import SetupError

__all__ = ["QUIET_S", "Troubles"]

QUIET_S = 1.0
"""For so long nothing must have failed before it is looked whether a trouble is over, and looked again."""

_ROOM_BYTES = 1 << 16
_log = logging.getLogger("serving")


class Troubles:
    """Folders that could not be written to when an event was scored, until they can be again; and a store elsewhere.

    Args:
        log, store: the folders that are watched. A store that is not in one is asked itself where it matters.
    """

    def __init__(self, *, log: Path, store: Path | None) -> None:
        self._folders = {"log": log} if store is None else {"log": log, "store": store}
        self._reasons: dict[str, str] = {}
        self._unreachable = False
        self._failed_at = 0.0

    def failed(self, error: SetupError) -> None:
        """Take note of why events were not scored."""
        for what, folder in self._folders.items():
            if error.where == str(folder):
                self._failed_at = time.monotonic()
                if what not in self._reasons:
                    _log.error("events are refused, as the %s fails: %s", what, error.line())
                self._reasons[what] = error.line()

    def why(self, what: str) -> str | None:
        """Why something cannot be written to now, as far as is known."""
        return self._reasons.get(what)

    def asked(self, why_not: str | None) -> None:
        """Take note of whether the store could be reached."""
        if why_not and not self._unreachable:
            _log.error("the store cannot be reached: %s", why_not)
        elif self._unreachable and not why_not:
            _log.info("the store is reached again")
        self._unreachable = bool(why_not)

    def is_due(self) -> bool:
        """Whether `look` has something to do."""
        return bool(self._reasons) and time.monotonic() - self._failed_at >= QUIET_S

    def look(self) -> None:
        """See whether a trouble is over. It writes, so it is for a thread."""
        self._failed_at = time.monotonic()
        for what in list(self._reasons):
            if _has_room(self._folders[what]):
                del self._reasons[what]
                _log.info("the %s can be written to again", what)


def _has_room(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)  # as the log will
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
    except OSError:
        return False
    return True
