"""Limits on requests that hold over all workers of a server, without a lock between them.

The generic cell rate algorithm (ITU-T I.371): each request moves a key's "theoretical arrival time" ahead by 1/rate,
and is refused while that time is further ahead of the clock than the burst allows. Here it is a sum, of which each
worker writes its own part only: the time its requests used up, and a base that it moves forward after a pause; the
greatest base counts. No update is ever lost, so two workers that take the last token in the same moment exceed the
limit by one request, once, and pay it back: in t seconds at most burst + rate · t + (workers - 1) are let through.
"""

from __future__ import annotations

from collections.abc import Iterable

from serving.shared import AREAS, Shared

__all__ = ["SLOTS", "Rates", "slots", "tolerance"]

SLOTS = AREAS["rates"] // 2
"""How many keys can have limits: each has a base and a sum in every worker's part."""

_ROUNDING_S = 1e-6


class Rates:
    """The limits as one worker sees them. Times are those of `time.monotonic`, which all processes share."""

    __slots__ = ("_mine", "_others")

    def __init__(self, shared: Shared) -> None:
        self._mine = shared.mine("rates")
        parts = shared.parts("rates")[: shared.workers]
        self._others = [part for number, part in enumerate(parts) if number != shared.worker]

    def take(self, slot: int, interval: float, ahead: float, now: float) -> float:
        """Let a request through, and return 0; or return in how many seconds it could be.

        Args:
            slot: whose limit.
            interval: seconds between requests in the long run, 1 / rate.
            ahead: seconds that requests may be ahead of the clock, see `tolerance`.
        """
        mine = self._mine
        at = 2 * slot
        base = mine[at]
        used = own = mine[at + 1]
        for part in self._others:
            other = part[at]
            if other > base:
                base = other
            used += part[at + 1]
        gained = base + used - now
        if gained > ahead:
            return float(gained - ahead)
        if gained < 0.0:
            mine[at] = now - used
        mine[at + 1] = own + interval
        return 0.0


def tolerance(interval: float, burst: int) -> float:
    """How far ahead of the clock `burst` requests at once get before the last of them."""
    return (burst - 1) * interval + _ROUNDING_S


def slots(digests: Iterable[bytes]) -> dict[bytes, int]:
    """A slot for each key, the same in every process that knows the same keys.

    A key keeps its slot when others come and go, unless two fall on one; one that moves finds a full bucket, or the
    rest of another's.

    Args:
        digests: of at most `SLOTS` keys, 32 bytes each.
    """
    taken: dict[int, bytes] = {}
    for digest in sorted(digests):
        slot = int.from_bytes(digest[:8], "big") % SLOTS
        while slot in taken:
            slot = (slot + 1) % SLOTS
        taken[slot] = digest
    return {digest: slot for slot, digest in taken.items()}
