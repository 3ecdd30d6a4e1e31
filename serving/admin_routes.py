"""What an administrator asks of a running server: to look at the pointer now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from serving.http import Request, Response, Route, json_response, problem
from serving.notes import Note, read_note
from serving.state import State

__all__ = ["PATIENCE_S", "ROUTES", "reload"]

PATIENCE_S = 10.0
"""How long the workers have to report."""

_ASK_AGAIN_S = 0.02


async def reload(state: State, request: Request) -> Response:
    """Have every worker look at the pointer now; say what answers once all of them say the same.

    409 if what the pointer names is refused, which leaves in its place what answered before; 503 if a worker has not
    reported in time. Either way the audit log has it.
    """
    follower = state.follower
    asked = follower.ask()
    await follower.look()
    deadline = time.monotonic() + PATIENCE_S
    while not _agree(notes := _notes(state, asked)) and time.monotonic() < deadline:
        await asyncio.sleep(_ASK_AGAIN_S)
    response = _told(notes)
    outcome = f"version {note.version} answers" if response.status == 200 and (note := notes[0]) else ""
    follower.audit.record(request, request.path, outcome or msgspec.json.decode(response.body)["detail"])
    return response


def _notes(state: State, asked: float) -> list[Note | None]:
    """What each worker says, None where it has not looked since."""
    texts = state.shared.notes()[: state.shared.workers]
    return [
        read_note(text) if looked else None
        for text, looked in zip(texts, state.follower.looked(asked), strict=True)
    ]


def _agree(notes: Sequence[Note | None]) -> bool:
    said = {(note.version, note.digest, note.refused) if note else None for note in notes}
    return len(said) == 1 and None not in said


def _told(notes: Sequence[Note | None]) -> Response:
    workers = [
        {"worker": worker, **(msgspec.to_builtins(note) if note else {"pid": None})}
        for worker, note in enumerate(notes)
    ]
    if refused := next((note.refused for note in notes if note and note.refused), None):
        return problem(409, f"version {refused.version} is refused: {refused.reason}", workers=workers)
    first = notes[0]
    if first is None or not _agree(notes):
        detail = f"the workers have not reported the same within {PATIENCE_S:g} s"
        return problem(503, detail, headers={b"retry-after": b"5"}, workers=workers)
    if first.version is None:
        return problem(409, "nothing is deployed yet", workers=workers)
    return json_response({"version": first.version, "digest": first.digest, "workers": workers})


ROUTES = (Route(method="POST", path="/v1/admin/reload", handler=reload, scope="admin"),)
