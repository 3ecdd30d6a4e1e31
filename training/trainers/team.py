"""The processes that fit one network together: each takes its share of every batch."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ALONE", "Team"]


class Team(Protocol):
    """`rank` 0 of `world` processes leads: it writes, and what it decides holds for all."""

    rank: int
    world: int

    def share(self, value: bytes) -> bytes:
        """What the leader gave; all have to ask."""


class _Alone:
    rank, world = 0, 1

    def share(self, value: bytes) -> bytes:
        return value


ALONE: Team = _Alone()
