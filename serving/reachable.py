"""Whether the store can be used, for all who want to know: it is asked once a second, and by one at a time."""

from __future__ import annotations

import threading
import time

from mlops.errors import SetupError
from serving.store import OnlineStore

__all__ = ["Reachable"]

_KNOWN_S = 1.0


class Reachable:
    """What a store said last. Who comes while another asks hears what was known, so that nobody waits for him."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._asking = threading.Lock()
        self._ask_at = 0.0
        self._why_not: str | None = None

    def why_not(self) -> str | None:
        """Why the store cannot be used, as far as is known; to be called in a thread, as it may be asked."""
        if self._asking.acquire(blocking=False):
            try:
                if time.monotonic() >= self._ask_at:
                    self._why_not = _ask(self._store)
                    self._ask_at = time.monotonic() + _KNOWN_S
            finally:
                self._asking.release()
        return self._why_not


def _ask(store: OnlineStore) -> str | None:
    try:
        store.size_bytes()  # nothing is cheaper that has to be asked of it
    except SetupError as error:
        return error.line()
    except OSError as error:
        return str(error)
    return None
