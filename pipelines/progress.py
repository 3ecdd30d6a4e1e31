"""What a running step says of how far it is, and whoever shows steps may show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["heard_by", "say"]

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def say(text: str) -> None:
    """Say how far the step is; where nobody listens, nothing happens."""
    if (listener := _listener.get()) is not None:
        listener(text)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Let `listener` hear what is said inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
