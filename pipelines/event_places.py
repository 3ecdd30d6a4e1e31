"""Where runs take events from: a local path, which another machine may not have, or a URI."""

from __future__ import annotations

from pathlib import Path

from mlops.errors import InputError
from mlops.storage import is_remote, local_path

__all__ = ["is_missing", "must_be_there", "told"]


def is_missing(events: str) -> bool:
    """Whether nothing lies at a local path. What is elsewhere is not asked."""
    return not is_remote(events) and not _here(events).exists()


def must_be_there(events: str) -> None:
    """Refuse a local path where nothing lies, before a run is begun.

    Raises:
        InputError: nothing lies there.
    """
    if is_missing(events):
        raise InputError("no such file or folder", where=events)


def told(events: str) -> str:
    """As a process in another folder is told."""
    return events if is_remote(events) else str(_here(events))


def _here(events: str) -> Path:
    return (
        local_path(events, base=Path()).absolute() if events.startswith("file:") else Path(events).absolute()
    )
