"""What the handlers of one worker share."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from serving.access import Access
from serving.batcher import Batcher
from serving.connections import Connections
from serving.follower import Follower
from serving.metrics import WorkerMetrics
from serving.options import Options
from serving.shared import Shared

__all__ = ["State"]


class State(msgspec.Struct, kw_only=True):
    """One worker's parts.

    Fields:
        explainer: the thread that finds reasons; explaining: the events whose reasons were asked for.
        labelling: the turns that labels wait for, and take; label_turn: whose labels are taken.
        draining: set once the process was told to end: readiness turns, answers close their connections.
        told_to_end: the same, to be waited for.
        following: the task that looks at the pointer.
    """

    options: Options
    follower: Follower
    batcher: Batcher
    access: Access
    metrics: WorkerMetrics
    shared: Shared
    explainer: ThreadPoolExecutor = msgspec.field(default_factory=lambda: ThreadPoolExecutor(1, "reasons"))
    explaining: int = 0
    labelling: int = 0
    label_turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    draining: bool = False
    told_to_end: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    following: asyncio.Task[Any] | None = None
    connections: Connections | None = None
