"""Ctrl-C that is never lost.

Python swallows an exception that a signal raises in a callback of its garbage collector, or in a destructor. So the
signal is remembered, and comes again a moment later; whoever runs steps also asks between two of them.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time

__all__ = ["check", "listen"]

_AGAIN = 0.05  # seconds; the callback has returned by then

_seen = threading.Event()
_swallowed = threading.Event()


def listen() -> None:
    """Let Ctrl-C, and a polite kill, raise KeyboardInterrupt, and remember them."""
    sys.unraisablehook = _unraisable
    signal.signal(signal.SIGTERM, _interrupt)
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):  # as a shell sets it for what runs in the background
        signal.signal(signal.SIGINT, _interrupt)


def check() -> None:
    """Raise KeyboardInterrupt if one of them was received."""
    if _seen.is_set():
        _swallowed.clear()
        raise KeyboardInterrupt


def _interrupt(*_: object) -> None:
    _seen.set()
    raise KeyboardInterrupt


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    if not (isinstance(what.exc_value, KeyboardInterrupt) and _seen.is_set()):
        sys.__unraisablehook__(what)
        return
    _swallowed.set()
    # Not `threading.Thread`, whose locks the interrupted code may hold. Signals are heard by the main thread, this one.
    _thread.start_new_thread(_come_again, (threading.get_ident(),))


def _come_again(main_thread: int) -> None:
    time.sleep(_AGAIN)
    if _swallowed.is_set():
        _swallowed.clear()
        signal.pthread_kill(main_thread, signal.SIGTERM)
