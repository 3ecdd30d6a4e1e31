"""What this worker could not write down: the log's disk is full, the store's, or the store refuses. Said once when it
begins and once when it is over, however many requests it was that were refused meanwhile.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlops.errors import SetupError
from serving.store import BusyError, MadeAnewError, OnlineStore

__all__ = ["QUIET_S", "Troubles"]

QUIET_S = 1.0
"""For so long nothing must have failed before it is looked whether a trouble is over, and looked again; longer where
that was said and proved wrong."""

_LONGEST_S = 30.0
_ROOM_BYTES = 1 << 16
_PROBE = b"\xffis it written?"  # no event's id is encoded like that
_log = logging.getLogger("serving")


class Troubles:
    """Why the log, or the store, could not be used when events were scored or labels taken, until they can be again.

    Args:
        log: the folder of the log; store: that of the store, if it is in one; audit: that of the log of
            administrative calls, whose failures refuse nobody's events.
        committed: a number that grows whenever something was written to a log and to the store.

    Attributes:
        quiet_s: for how long nothing must have failed before it is looked whether it is over.
        anew: what was said if the store is not the one any more that was opened.
    """

    def __init__(self, log: Path, store: Path | None, audit: Path, committed: Callable[[], float]) -> None:
        self._folders = {"log": log} if store is None else {"log": log, "store": store}
        self._audit = audit
        self._committed = committed
        self._reasons: dict[str, str] = {}
        self._unreachable = False
        self._failed_at = 0.0
        self._reached = 0.0
        self.quiet_s = QUIET_S
        self._believed: float | None = None
        self.anew: str | None = None

    def failed(self, error: SetupError) -> None:
        """Take note of why events were not scored, or labels not taken."""
        if isinstance(error, BusyError):  # it is about a few keys, and soon over
            return
        place = None if error.where is None else Path(error.where)
        what = "log" if place is not None and place.is_relative_to(self._folders["log"]) else "store"
        if what == "store" and place == self._audit:
            return
        if isinstance(error, MadeAnewError):
            self.anew = error.line()
        self._failed_at, self._reached = time.monotonic(), self._committed()
        if what not in self._reasons:
            _log.error("events are refused, as the %s fails: %s", what, error.line())
            again = self._believed == self._reached  # nothing was written since a probe said that it is over
            self.quiet_s = min(2 * self.quiet_s, _LONGEST_S) if again else QUIET_S
        self._reasons[what] = error.line()

    def why(self, what: str) -> str | None:
        """Why something cannot be used now, as far as is known."""
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
        return bool(self._reasons) and time.monotonic() - self._failed_at >= self.quiet_s

    def is_over(self) -> None:
        """Take note that log and store can be used."""
        for what in list(self._reasons):
            del self._reasons[what]
            _log.info("the %s can be written to again", what)

    def look(self, store: OnlineStore) -> None:
        """See whether a trouble is over: something was written since, or can be. It writes, so it is for a thread.

        Where a probe says so and what comes next fails all the same, the next probe is believed later.
        """
        if self._committed() > self._reached:
            self.is_over()
            return
        self._failed_at = time.monotonic()
        if not all(map(_has_room, self._folders.values())):
            return
        try:
            _write(store)
        except SetupError as error:
            if "store" in self._reasons:
                self.failed(error)
            return
        self._believed = self._reached
        self.is_over()


def _write(store: OnlineStore) -> None:
    """Write to the store what means nothing: an answer to no event.

    Raises:
        SetupError: it cannot be written to.
    """
    with store.begin(lambda rehearsed: rehearsed.answers([_PROBE])) as transaction:
        transaction.answers([_PROBE])
        transaction.save_answers({_PROBE: bytes(_ROOM_BYTES)})


def _has_room(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)  # as the log will
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
    except OSError:
        return False
    return True
