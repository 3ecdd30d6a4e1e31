"""What was logged is not lost where the store's commit fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from mlops.bundle import open_bundle
from mlops.errors import SetupError
from mlops.records import Decision, read_decisions
from mlops.signing import PUBLIC_KEY
from serving.decisions import AppendLog, last_decisions
from serving.events import Event
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.scorer import Scorer
from serving.service import Service
from serving.store import Rehearsal, StoreTransaction
from tests.serving.example import FEATURES, NUMBERS, World, payment


class FailingStore(InMemoryStore):
    """Fails to commit when it is told to, as a store does whose server goes away."""

    fails = False

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        with super().begin(rehearsal) as transaction:
            yield transaction
            if self.fails:
                raise SetupError("went away")


@pytest.fixture
def store() -> FailingStore:
    return FailingStore(StorePlan.of(FEATURES, NUMBERS))


@pytest.fixture
def service(world: World, store: FailingStore) -> Service:
    bundle = open_bundle(world.bundle("served")[0], public_key=world.keys / PUBLIC_KEY)
    logs = AppendLog(world.decisions, "decisions"), AppendLog(world.decisions, "labels")
    return Service(store, Scorer(bundle, "1", store.plan), *logs)


def event(service: Service, number: int) -> Event:
    return service.scorer.reader.event(payment(number, card=5, at="2024-03-03T00:00:00"))


def test_a_decision_whose_commit_failed_is_the_one_that_a_repeat_gets(
    service: Service, store: FailingStore, world: World
) -> None:
    service.score([event(service, 1)])
    store.fails = True
    with pytest.raises(SetupError, match="went away"):
        service.score([event(service, 2)])
    with pytest.raises(SetupError, match="went away"):
        service.score([event(service, 3)])
    store.fails = False
    (third,) = service.score([event(service, 3)])
    (second,) = service.score([event(service, 2)])
    assert [d.event_id for d in read_decisions(world.decisions)] == [1, 2, 3]
    logged = {d.event_id: d.decision_id for d in read_decisions(world.decisions)}
    assert msgspec.json.decode(second)["decision_id"] == logged[2]
    assert msgspec.json.decode(third)["features"]["card_count_1d"] == 3


def test_the_last_lines_of_all_logs_written_at_the_same_time_are_found(tmp_path: Path) -> None:
    def logged(number: int) -> Decision:
        return Decision(
            decision_id=str(number), event_id=number, scored_at="", event={}, features=[], score=0.0,
            decision="approve", version="1", bundle="",
        )  # fmt: skip

    logs = [AppendLog(tmp_path, "decisions") for _ in range(3)]
    for number, log in enumerate(logs):
        log.write([logged(10 * number + n) for n in range(4)])
        assert [d.event_id for d in log.last(2, Decision)] == [10 * number + 2, 10 * number + 3]
    oldest = min(tmp_path.iterdir())
    os.utime(oldest, (0, 0))  # of a process that ended long ago, and was recovered from by others
    assert [d.event_id for d in last_decisions(tmp_path, 2)] == [12, 13, 22, 23]
