"""The gauges that nothing sets in passing: what a worker asks of itself, its disk and its store now and then."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import MlopsError
from serving.instruments import (
    CONNECTIONS,
    DRAINING,
    KEYS_STALE,
    LOG_FREE_BYTES,
    PROCESS_CPU,
    PROCESS_FDS,
    PROCESS_MAX_FDS,
    PROCESS_RESIDENT,
    QUEUE_EVENTS,
    QUEUE_LIMIT,
    STORE_ASKED,
    STORE_BYTES,
    STORE_EVENTS,
    STORE_UP,
)
from serving.store import OnlineStore
from serving.troubles import Troubles

if TYPE_CHECKING:
    from serving.state import State

__all__ = ["STORE_SECONDS", "refresh"]

STORE_SECONDS = 5.0
"""How often the store is asked: it may be across a network."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_FDS = Path("/proc/self/fd")
_MEMORY = Path("/proc/self/statm")


def refresh(state: State) -> None:
    """Set a worker's gauges; to be called in its event loop, twice a second. The store is asked in a thread.

    How many files are open is what the size of `/proc/self/fd` says since Linux 6.2, in 20 µs. To list 10,000 of them
    takes 10 ms, and 50 at times.
    """
    cells = state.metrics.cells
    cells[QUEUE_EVENTS.at()] = state.batcher.events
    cells[QUEUE_LIMIT.at()] = state.batcher.limit
    cells[CONNECTIONS.at()] = len(state.connections.open) if state.connections is not None else 0
    cells[DRAINING.at()] = state.draining
    times = os.times()
    cells[PROCESS_CPU.at()] = times.user + times.system
    cells[PROCESS_MAX_FDS.at()] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if _MEMORY.exists():
        if files := _FDS.stat().st_size:  # an older one does not say, and they are counted beside: see `_ask`
            cells[PROCESS_FDS.at()] = files
        with suppress(OSError):  # no descriptor is left to read it with
            cells[PROCESS_RESIDENT.at()] = int(_MEMORY.read_bytes().split()[1]) * _PAGE_BYTES
    cells[KEYS_STALE.at()] = bool(state.access.fault)
    cells[LOG_FREE_BYTES.at()] = _free_bytes(state.options.decisions)
    service, now = state.follower.service, time.time()
    if service is not None and state.follower.troubles.why("store"):
        with suppress(MlopsError, OSError):  # it is tried again, and whoever asks for something is told
            service.catch_up()  # nobody may ask for anything before the server is ready again
    if service is not None and not state.draining and abs(now - cells[STORE_ASKED.at()]) >= STORE_SECONDS:
        cells[STORE_ASKED.at()] = now
        asyncio.get_running_loop().run_in_executor(None, _ask, service.store, cells, state.follower.troubles)


def _ask(store: OnlineStore, cells: memoryview[float], troubles: Troubles) -> None:
    if _FDS.exists() and not _FDS.stat().st_size:
        with suppress(OSError):  # no descriptor is left to count them with
            cells[PROCESS_FDS.at()] = len(os.listdir(_FDS))
    try:
        cells[STORE_EVENTS.at()] = store.count("events")
        cells[STORE_BYTES.at()] = store.size_bytes()
    except (MlopsError, OSError) as error:
        cells[STORE_UP.at()] = 0.0
        troubles.asked(str(error))
    else:
        cells[STORE_UP.at()] = troubles.why("store") is None  # it may answer, and take nothing
        troubles.asked(None)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize
