"""What a process that a test starts does with signals."""

from __future__ import annotations

import signal

__all__ = ["hear_ctrl_c"]


def hear_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and the tests may have been started so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
