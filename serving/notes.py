"""What a worker says of itself in the block that all workers share, for whoever of them is asked."""

from __future__ import annotations

import msgspec

__all__ = ["Note", "Refusal", "read_note"]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What was not put in place, and why."""

    version: str
    reason: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One worker: its process, the model that it answers with, if any, and what it refused, if it does now."""

    pid: int
    name: str = ""
    version: str | None = None
    digest: str | None = None
    refused: Refusal | None = None


def read_note(text: bytes) -> Note | None:
    """A worker's note; None where there is none, or where it is being written at this moment."""
    try:
        return msgspec.json.decode(text, type=Note)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
