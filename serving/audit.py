"""The audit log: who asked for what of the administrator's calls, and what came of it. JSON lines, never a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from serving.decisions import AppendLog
from serving.http import Request

__all__ = ["Audit", "AuditRecord"]

_DAY_S = 86_400.0


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line.

    Fields:
        caller: the name of the key; peer: the address it came from.
        action: what was asked for, as a path: `/v1/admin/reload`; outcome: what came of it, in words.
    """

    at: datetime
    request_id: str
    caller: str
    peer: str
    action: str
    outcome: str


class Audit:
    """Files `audit-….jsonl` in a folder, one a day and process; as with decisions, a line survives the process."""

    def __init__(self, folder: Path) -> None:
        self._log = AppendLog(folder, "audit", rotate_seconds=_DAY_S)

    def rotate_if_due(self) -> None:
        """See `AppendLog`."""
        self._log.rotate_if_due()

    def record(self, request: Request, action: str, outcome: str) -> None:
        """Append a line.

        Raises:
            SetupError: it cannot be written.
        """
        line = AuditRecord(
            at=datetime.now(UTC),
            request_id=request.id,
            caller=request.caller,
            peer=request.peer,
            action=action,
            outcome=outcome,
        )
        self._log.write([line])

    def close(self) -> None:
        """Close the file, flushed to the disk."""
        self._log.close()
