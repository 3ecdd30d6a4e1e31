"""Ctrl-C that is never lost.

Python swallows the exception of a signal that arrives in a callback of its garbage collector. So the signal is
remembered as well, and whoever runs steps asks between two of them.
"""

from __future__ import annotations

import signal
import threading

__all__ = ["check", "listen"]

_seen = threading.Event()


def listen() -> None:
    """Let Ctrl-C, and a polite kill, raise KeyboardInterrupt, and remember them."""
    signal.signal(signal.SIGTERM, _interrupt)
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):  # as a shell sets it for what runs in the background
        signal.signal(signal.SIGINT, _interrupt)


def check() -> None:
    """Raise KeyboardInterrupt if one of them was received."""
    if _seen.is_set():
        raise KeyboardInterrupt


def _interrupt(*_: object) -> None:
    _seen.set()
    raise KeyboardInterrupt
