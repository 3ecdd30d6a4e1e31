"""A limit holds over all workers, to the request where they take turns, and nearly so where they do not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.rates import SLOTS, Rates, slots, tolerance
from serving.shared import Shared

ROOT = Path(__file__).resolve().parents[2]


def workers(count: int) -> list[Rates]:
    block = Shared.create(count)
    return [Rates(Shared(block.descriptor, count, worker)) for worker in range(count)]


class Bucket:
    """The reference: a bucket of `burst` tokens into which `rate` drop a second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), 0.0

    def take(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1 - 1e-4:
            return False
        self._tokens -= 1
        return True


@given(
    rate=st.sampled_from([0.5, 4.0, 64.0]),
    burst=st.integers(1, 20),
    asked=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=200),
)
def test_workers_that_take_turns_share_one_token_bucket(
    rate: float, burst: int, asked: list[tuple[int, int]]
) -> None:
    rates, bucket, now = workers(3), Bucket(rate, burst), 1000.0
    for worker, sixteenths in asked:
        now += sixteenths / 16 / rate
        wait = rates[worker].take(5, 1 / rate, tolerance(1 / rate, burst), now)
        assert (wait == 0) == bucket.take(now)


def test_who_is_refused_is_told_when_to_come_back() -> None:
    (rates,) = workers(1)
    assert [rates.take(0, 0.5, tolerance(0.5, 2), 100.0) for _ in range(2)] == [0, 0]
    wait = rates.take(0, 0.5, tolerance(0.5, 2), 100.1)
    assert wait == pytest.approx(0.4, abs=1e-5)
    assert rates.take(0, 0.5, tolerance(0.5, 2), 100.1 + wait - 1e-3) > 0
    assert rates.take(0, 0.5, tolerance(0.5, 2), 100.1 + wait + 1e-3) == 0


def test_limits_do_not_touch_each_other() -> None:
    rates = workers(2)
    for slot in (0, 1, SLOTS - 1):
        assert rates[slot % 2].take(slot, 1.0, tolerance(1.0, 1), 50.0) == 0
        assert rates[1 - slot % 2].take(slot, 1.0, tolerance(1.0, 1), 50.0) > 0


def test_a_worker_started_in_the_place_of_another_goes_on_with_its_limits() -> None:
    block = Shared.create(1)
    first = Rates(Shared(block.descriptor, 1, 0))
    assert first.take(3, 10.0, tolerance(10.0, 1), 50.0) == 0
    again = Rates(Shared(block.descriptor, 1, 0))
    assert again.take(3, 10.0, tolerance(10.0, 1), 51.0) == pytest.approx(9.0, abs=1e-5)


def test_a_changed_rate_holds_from_its_change() -> None:
    (rates,) = workers(1)
    for _ in range(1000):
        rates.take(0, 0.001, tolerance(0.001, 1000), 50.0)
    assert rates.take(0, 1.0, tolerance(1.0, 1), 60.0) == 0
    assert rates.take(0, 1.0, tolerance(1.0, 1), 60.5) == pytest.approx(0.5, abs=1e-5)


HAMMER = """
import json, os, sys, time
from serving.rates import Rates, tolerance
from serving.shared import Shared
descriptor, workers, worker, until = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
rates = Rates(Shared(descriptor, workers, worker))
ahead, taken = tolerance(1 / 500, 100), []
while (now := time.monotonic()) < until:
    if rates.take(7, 1 / 500, ahead, now) == 0:
        taken.append(now)
print(json.dumps(taken))
"""


def test_processes_that_do_not_wait_for_each_other_exceed_it_by_no_more_than_one_each() -> None:
    count, block = 3, Shared.create(3)
    until = time.monotonic() + 1.5
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, *map(str, (block.descriptor, count, worker, until))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            pass_fds=(block.descriptor,),
        )
        for worker in range(count)
    ]
    taken = sorted(at for process in processes for at in json.loads(process.communicate(timeout=30)[0]))
    assert len(taken) > 200
    for first in range(0, len(taken), 7):
        for last in (first + 50, first + 150, len(taken) - 1):
            if first < last < len(taken):
                allowed = 100 + 500 * (taken[last] - taken[first]) + count - 1
                assert (
                    last - first + 1 <= allowed + 2
                )  # a process may be stopped between asking the time and taking
    enough = 100 + 500 * (taken[-1] - taken[0])
    assert len(taken) >= 0.9 * enough


def test_every_key_has_a_slot_of_its_own_that_all_processes_find() -> None:
    digests = [number.to_bytes(8, "big") * 4 for number in range(0, 1024 * 1000, 1000)]
    found = slots(digests)
    assert len(set(found.values())) == len(digests) and set(found.values()) <= set(range(SLOTS))
    assert slots(reversed(digests)) == found


def test_a_key_keeps_its_slot_when_others_come_and_go() -> None:
    digests = [bytes([number]) * 32 for number in range(0, 200, 9)]
    found = slots(digests)
    assert {digest: slots(digests[::2])[digest] for digest in digests[::2]}.items() <= found.items()
