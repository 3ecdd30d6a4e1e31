"""A server on a core of its own, and load from another: what it answers, and the processor time that takes.

A rate says what this machine did in these seconds, whatever else ran on it; processor time per request hardly changes
with that.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from mlops.errors import SetupError
from pipelines.open_loop import Offered, offer

__all__ = [
    "CONNECTIONS",
    "Closed",
    "Cores",
    "Memory",
    "Rate",
    "Server",
    "closed_loop",
    "memory_of",
    "open_loop",
    "started",
]

CONNECTIONS = 64
"""Of the closed loop: each asks again once it has its answer."""

_SCRIPT = Path(__file__).with_name("bench_serving.lua")
_PATIENCE_S = 60.0
_STORE_FILE = "data.mdb"

T = TypeVar("T")


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of the server's core and of the load's."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """The first two that this process may use.

        Raises:
            SetupError: this machine cannot do what the bench needs.
        """
        if not sys.platform.startswith("linux"):
            raise SetupError("needs Linux: processes are bound to cores", where="bench serving")
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise SetupError(
                "needs two cores, one for the server and one for the load", where="bench serving"
            )
        for tool in ("wrk", "taskset"):
            if shutil.which(tool) is None:
                raise SetupError(
                    f"needs {tool}", where="bench serving", todo="install it; infra/system-packages does"
                )
        return cls(server=usable[0], load=usable[1])


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process.

    Fields:
        uss_mb: private memory, without pages of the store's file.
        store_mb: those pages: the file is mapped by this process alone, so they count as private as well. They are the
            system's cache of it, come with every key that is looked at, and go when memory is wanted.
    """

    uss_mb: float
    store_mb: float


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running one: its processes, the port, and how long it took until it was ready."""

    process: psutil.Process
    port: int
    ready_s: float

    @property
    def processes(self) -> list[psutil.Process]:
        children = self.process.children(recursive=True)
        return [self.process, *(child for child in children if child.status() != psutil.STATUS_ZOMBIE)]

    def cpu_s(self) -> float:
        """Processor time so far, of all of its processes."""
        return sum(p.cpu_times().user + p.cpu_times().system for p in self.processes)

    def memory(self) -> Memory:
        """Of the process that has most: the worker."""
        return max((memory_of(process) for process in self.processes), key=lambda memory: memory.uss_mb)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What a server did, and how undisturbed it was.

    Fields:
        rps: requests a second. cpu_us: the server's processor time for each, kernel included.
        others, load_others: the share of the server's core, and of the load's, that other processes had, or the
            machine's other guests.
    """

    rps: float
    cpu_us: float
    others: float
    load_others: float


class Closed(msgspec.Struct, frozen=True):
    """What wrk saw. `asked` counts the requests that it made up, `refused` answers that were no 2xx."""

    requests: int
    seconds: float
    asked: int
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int


@contextmanager
def started(
    command: Sequence[str],
    cores: Cores,
    log: Path,
    *,
    ready: Callable[[int], bool],
    port: int | None = None,
    variables: Mapping[str, str] | None = None,
    working: Path | None = None,
) -> Iterator[Server]:
    """Start a server on its core, wait until it is ready, and end it with SIGTERM.

    Args:
        ready: whether it answers at this port.
        port: where it listens, if it was told; else the first line that it prints ends in it.
        working: the folder that it starts in, this process's by default.

    Raises:
        SetupError: it ended, or was not ready in a minute.
    """
    line = ["taskset", "-c", str(cores.server), *command]
    with log.open("ab") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            line,
            stdout=subprocess.PIPE if port is None else output,  # nobody reads more of a pipe than a line
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})},
            cwd=working,
            start_new_session=True,
        )
    try:
        if port is None:
            port = _port(process, log)
        while not ready(port):
            if process.poll() is not None or time.monotonic() - begun > _PATIENCE_S:
                raise SetupError(f"{command[0]} does not answer", where=log, todo="it says why")
            time.sleep(0.005)
        yield Server(
            process=psutil.Process(process.pid), port=port, ready_s=round(time.monotonic() - begun, 3)
        )
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def closed_loop(
    server: Server, cores: Cores, path: str, bodies: Sequence[str], seconds: float, *more: str, key: str = ""
) -> tuple[Closed, Rate]:
    """Let wrk ask for a while.

    Args:
        more: further arguments of the script, for events.

    Raises:
        SetupError: wrk failed, or connections did.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(bodies))
        file.flush()
        command = [
            *("taskset", "-c", str(cores.load), "wrk", "--threads", "1", "--connections", str(CONNECTIONS)),
            *("--duration", f"{seconds:.0f}s", "--timeout", "20s", "--latency", "--script", str(_SCRIPT)),
            *(f"http://127.0.0.1:{server.port}", "--", path, key, file.name, *more),
        ]
        ran, rate = _timed(
            server, cores, lambda: subprocess.run(command, capture_output=True, text=True, check=False)
        )
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines or not lines[-1].startswith("{"):
        raise SetupError(f"wrk ended with {ran.returncode}: {ran.stderr.strip()[-300:]}", where=path)
    closed = msgspec.json.decode(lines[-1], type=Closed)
    if closed.broken or not closed.requests:
        raise SetupError(f"{closed.broken} requests of wrk got no answer", where=path)
    return closed, rate(closed.requests, closed.seconds)


def open_loop(server: Server, cores: Cores, requests: Sequence[bytes], rate: float) -> tuple[Offered, Rate]:
    """Offer requests at a rate, from this process, which is bound to the load's core meanwhile."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    try:
        offered, measured = _timed(server, cores, lambda: offer(("127.0.0.1", server.port), requests, rate))
    finally:
        os.sched_setaffinity(0, usable)
    return offered, measured(sum(offered.statuses.values()), offered.seconds)


def _timed(server: Server, cores: Cores, act: Callable[[], T]) -> tuple[T, Callable[[int, float], Rate]]:
    """What an act gives, and what makes a rate of how many requests it was in how many seconds."""
    begun, used, spent = time.monotonic(), server.cpu_s(), _own_s()
    busy, load_busy = _busy_s(cores.server), _busy_s(cores.load)
    result = act()
    took, used, spent = time.monotonic() - begun, server.cpu_s() - used, _own_s() - spent
    others = (_busy_s(cores.server) - busy - used) / took
    load_others = (_busy_s(cores.load) - load_busy - spent) / took

    def rate(requests: int, seconds: float) -> Rate:
        return Rate(
            rps=round(requests / seconds, 1),
            cpu_us=round(used / requests * 1e6, 1),
            others=round(min(1.0, max(0.0, others)), 2),
            load_others=round(min(1.0, max(0.0, load_others)), 2),
        )

    return result, rate


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    assert process.stdout is not None
    found = re.search(r"(\d+)\s*$", process.stdout.readline().decode())
    if found is None:
        raise SetupError("did not say where it listens", where=log, todo="it says why")
    return int(found[1])


def memory_of(process: psutil.Process) -> Memory:
    """A process's private memory, the pages of the store's file apart."""
    store = private = 0
    for mapped in process.memory_maps():
        pages = mapped.private_clean + mapped.private_dirty
        if Path(mapped.path).name == _STORE_FILE:
            store += pages
        else:
            private += pages
    return Memory(uss_mb=round(private / 2**20, 1), store_mb=round(store / 2**20, 1))


def _busy_s(core: int) -> float:
    times = psutil.cpu_times(percpu=True)[core]
    return float(times.user + times.nice + times.system + times.softirq + times.irq + times.steal)


def _own_s() -> float:
    """Processor time of this process and of the children that it waited for: the load's."""
    return sum(os.times()[:4])
