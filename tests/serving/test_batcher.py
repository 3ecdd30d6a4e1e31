"""Events of different requests are scored together, and no more wait than may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from mlops.errors import ConflictError, MlopsError, SetupError
from serving.batcher import MAX_BATCH, Batcher
from serving.events import Event
from serving.http import Problem


def event(number: int) -> Event:
    """One that says its number."""
    return Event(number, number, {})


class Scorer:
    """Answers each event with its id, and remembers what it was asked at once; event 13 is refused."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(
        self, requests: Sequence[Sequence[Event]], callers: Sequence[str]
    ) -> list[list[bytes] | MlopsError]:
        self.batches.append([int(e.id) for events in requests for e in events])
        if any(e.id == 99 for events in requests for e in events):
            raise SetupError("no space left on the device")
        return [
            ConflictError("another") if any(e.id == 13 for e in events) else [b"%d" % e.id for e in events]
            for events in requests
        ]


def run(work: Callable[[Batcher], Awaitable[Any]], limit: int = 100) -> tuple[Any, Scorer]:
    """What is done with a batcher in a loop, and the scorer that it has."""
    scorer = Scorer()

    async def inside() -> Any:
        return await work(Batcher(scorer, limit))

    return asyncio.run(inside()), scorer


def test_what_comes_at_the_same_time_is_scored_together_and_each_gets_its_own() -> None:
    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(
            *(batcher.submit([event(n), event(n + 50)], "shop", list) for n in range(5))
        )

    answers, scorer = run(work)
    assert answers == [[b"%d" % n, b"%d" % (n + 50)] for n in range(5)]
    assert len(scorer.batches) == 1


def test_one_that_does_not_fit_fails_alone() -> None:
    async def work(batcher: Batcher) -> Any:
        waiting = [batcher.submit([event(n)], "shop", list) for n in (1, 13, 2)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    (first, refused, last), _ = run(work)
    assert (first, last) == ([b"1"], [b"2"])
    assert isinstance(refused, ConflictError)


def test_a_failure_of_the_store_or_the_log_is_everybody_s() -> None:
    async def work(batcher: Batcher) -> Any:
        waiting = [batcher.submit([event(n)], "shop", list) for n in (1, 99)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers, _ = run(work)
    assert [type(answer) for answer in answers] == [SetupError, SetupError]


def test_no_more_wait_than_may_and_who_is_turned_away_is_told_when_to_come_again() -> None:
    async def work(batcher: Batcher) -> Any:
        waiting = [batcher.submit([event(n)], "shop", list) for n in range(4)]
        with pytest.raises(Problem) as raised:
            batcher.check()
        with pytest.raises(Problem):
            batcher.submit([event(9)], "shop", list)
        answers = await asyncio.gather(*waiting)
        batcher.check()
        return answers, raised.value, batcher.events

    (answers, error, left), _ = run(work, limit=4)
    assert (len(answers), left, error.status, error.headers) == (4, 0, 503, {b"retry-after": b"1"})


def test_a_long_list_is_taken_where_nothing_waits() -> None:
    async def work(batcher: Batcher) -> Any:
        return await batcher.submit([event(100 + n) for n in range(50)], "shop", len)

    assert run(work, limit=4)[0] == 50


def test_a_batch_has_a_size_and_a_request_is_never_divided() -> None:
    async def work(batcher: Batcher) -> Any:
        sizes = (1, MAX_BATCH - 2, 2, 1)
        waiting = [batcher.submit([event(200 + n)] * n, "shop", len) for n in sizes]
        return await asyncio.gather(*waiting)

    answers, scorer = run(work)
    assert answers == [1, MAX_BATCH - 2, 2, 1]
    assert [len(batch) for batch in scorer.batches] == [MAX_BATCH - 1, 3]


def test_all_that_wait_can_be_scored_now() -> None:
    async def work(batcher: Batcher) -> Any:
        waiting = [batcher.submit([event(n)] * 40, "shop", len) for n in range(3)]
        batcher.flush()
        assert all(future.done() for future in waiting)
        return await asyncio.gather(*waiting), batcher.events

    assert run(work, limit=200)[0] == ([40, 40, 40], 0)


def test_who_does_not_wait_any_more_harms_nobody() -> None:
    async def work(batcher: Batcher) -> Any:
        gone, stays = batcher.submit([event(1)], "shop", list), batcher.submit([event(2)], "shop", list)
        gone.cancel()
        return await stays

    assert run(work)[0] == [b"2"]


def test_an_answer_that_cannot_be_read_fails_its_own_request_and_no_other() -> None:
    def damaged(answers: list[bytes]) -> list[bytes]:
        raise ValueError("subsection not found")

    async def work(batcher: Batcher) -> Any:
        many = [event(100 + n) for n in range(MAX_BATCH - 1)]
        waiting = [
            batcher.submit([event(1)], "shop", damaged),
            batcher.submit(many, "shop", list),
            batcher.submit(many, "shop", list),
        ]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        return answers, batcher.events, await batcher.submit([event(7)], "shop", list)

    (answers, waiting, later), _ = run(work, limit=1000)
    assert isinstance(answers[0], ValueError)
    assert [len(answer) for answer in answers[1:]] == [MAX_BATCH - 1] * 2
    assert waiting == 0 and later == [b"7"]
