"""`python -m serving.worker`: one process that answers, started by the supervisor, which it does not outlive."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import uvloop

from mlops.errors import MlopsError
from mlops.signing import load_public_key
from serving.access import Access
from serving.app import begin_drain, serve
from serving.batcher import Batcher
from serving.events import Event
from serving.follower import Follower
from serving.logs import set_up
from serving.metrics import WorkerMetrics
from serving.options import Options
from serving.shared import Shared
from serving.state import State
from serving.stores import check_uri
from serving.supervisor import BEAT, BEAT_S, COMPLAINT

__all__ = ["main"]

_COLLECT = (50_000, 20, 50)
"""How seldom cycles are looked for. Requests make next to none, and it is those that wait which are looked through,
each time more objects were made than freed by this number: with Python's own 700 that costs goodput under overload."""

_log = logging.getLogger("serving")


def main(arguments: Sequence[str]) -> int:
    """Answer until SIGTERM, or until the supervisor is gone; return the exit code.

    Args:
        arguments: descriptors of the line to the supervisor, the listening socket and the shared block; how many
            workers there are, which one this is, and whether none has answered yet.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the supervisor, which then sends SIGTERM
    line, listener, block, workers, worker, first = map(int, arguments)
    supervisor = socket.socket(fileno=line)
    said = supervisor.makefile("rb").readline()
    if not said.endswith(b"\n"):
        return 0  # it is gone already
    options = Options.from_json(said)
    set_up(options.log_format, worker)
    try:
        if first:  # later, one that is no good any more is waited for like a bundle that is none
            load_public_key(options.public_key)
            check_uri(options.store)
        state = _state(options, Shared(block, workers, worker))
        uvloop.run(_live(state, socket.socket(fileno=listener), supervisor))
    except MlopsError as error:
        with suppress(OSError):  # it has just died
            supervisor.sendall(COMPLAINT + error.line().encode())
        return error.exit_code
    return 0


def _state(options: Options, shared: Shared) -> State:
    metrics = WorkerMetrics(shared)
    follower = Follower(options, metrics, shared)

    def score(requests: Sequence[Sequence[Event]], callers: Sequence[str]) -> list[list[bytes] | MlopsError]:
        assert follower.service is not None  # events are read with what its bundle says of them
        return follower.service.score_each(requests, callers)

    batcher = Batcher(score, options.queue)
    follower.settle = batcher.flush
    return State(
        options=options,
        follower=follower,
        batcher=batcher,
        access=Access(options.keys, shared, follower.audit),
        metrics=metrics,
        shared=shared,
    )


async def _live(state: State, listener: socket.socket, supervisor: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, begin_drain, state)

    def lost() -> None:
        loop.remove_reader(supervisor)
        _log.warning("the supervisor is gone: what is in hand is answered, and then it ends")
        begin_drain(state)

    control = state.shared.mine("control")

    def beat() -> None:
        control[BEAT] += 1
        loop.call_later(BEAT_S, beat)

    def ready() -> None:
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it again would only keep requests waiting
        gc.set_threshold(*_COLLECT)
        service = state.follower.service
        what = f"version {service.scorer.version}" if service else "no model yet"
        loop.add_reader(supervisor, lost)  # it says nothing more, so what can be read is its end
        with suppress(BrokenPipeError):  # it has just died
            supervisor.send(what.encode())
        beat()

    await serve(state, listener, on_ready=ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
