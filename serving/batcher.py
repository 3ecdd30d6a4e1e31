"""Events that wait to be scored: those that come at the same time are scored together, and no more than a limit wait.

One transaction of the store, one run of the model and one write to the log then serve many requests. An event that is
alone is scored at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mlops.errors import MlopsError
from serving.events import Event
from serving.http import Problem

__all__ = ["MAX_BATCH", "Batcher", "full"]

MAX_BATCH = 64
"""Events of different requests that are scored together; more do not make one of them cheaper."""

_FULL = "too many events wait to be scored"
_AGAIN = {b"retry-after": b"1"}

T = TypeVar("T")
Answers = list[bytes]
Waiting = tuple[Sequence[Event], str, Callable[[Answers], Any], asyncio.Future[Any]]
Score = Callable[[Sequence[Sequence[Event]], Sequence[str]], "list[Answers | MlopsError]"]


class Batcher:
    """The queue of one worker.

    Args:
        score: what scores the events of several requests, of which each has a caller.
        limit: how many events may wait.
    """

    def __init__(self, score: Score, limit: int) -> None:
        self._score = score
        self._limit = limit
        self._waiting: deque[Waiting] = deque()
        self.events = 0
        """How many wait."""

    @property
    def limit(self) -> int:
        return self._limit

    def check(self) -> None:
        """Refuse a request before it is looked at, if none can be taken.

        Raises:
            Problem: 503, with the time to try again.
        """
        if self.events >= self._limit:
            raise full()

    def submit(
        self, events: Sequence[Event], caller: str, shape: Callable[[Answers], T]
    ) -> asyncio.Future[T]:
        """What `shape` makes of the answers to a request's events, in their order, when they are there.

        Raises:
            Problem: 503: more would wait than may. A request of many is taken where none wait.
        """
        if self.events and self.events + len(events) > self._limit:
            raise full()
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append((events, caller, shape, answer))
        self.events += len(events)
        return answer

    def flush(self) -> None:
        """Score all that wait, now: what scores is about to be another."""
        while self._waiting:
            self._score_some()

    def _run(self) -> None:
        try:
            if self._waiting:
                self._score_some()
        finally:
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._run)

    def _score_some(self) -> None:
        taken: list[Waiting] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= MAX_BATCH):
            taken.append(self._waiting.popleft())
            count += len(taken[-1][0])
        self.events -= count
        try:
            answers = self._score([one[0] for one in taken], [one[1] for one in taken])
        except Exception as error:  # noqa: BLE001 - each request is told; the protocol logs it
            for *_, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, _, shape, future), answer in zip(taken, answers, strict=True):
            if future.done():  # nobody waits any more
                continue
            if isinstance(answer, MlopsError):
                future.set_exception(answer)
                continue
            try:
                future.set_result(shape(answer))
            except Exception as error:  # noqa: BLE001 - what the store kept of this one is damaged; not the others
                future.set_exception(error)


def full() -> Problem:
    """What is said where no more can wait."""
    return Problem(503, _FULL, headers=_AGAIN, reason="queue")
