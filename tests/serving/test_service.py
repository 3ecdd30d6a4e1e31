"""What was logged is not lost where the store's commit fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import serving.recovery
import serving.service
from mlops.bundle import open_bundle
from mlops.errors import ConflictError, InputError, SetupError
from mlops.records import Decision, LabelRecord, read_decisions
from mlops.signing import PUBLIC_KEY
from pipelines.archive import counting
from serving.decisions import AppendLog, last_decisions
from serving.entries import EntryEncoder
from serving.events import Event, time_us
from serving.forgetting import forget
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.scorer import Scorer
from serving.service import RECENT, Service
from serving.store import Rehearsal, StoreTransaction
from tests.serving.example import FEATURES, NUMBERS, World, payment


class FailingStore(InMemoryStore):
    """Fails to commit when it is told to, as a store does whose server goes away, or is another run of it."""

    fails = False
    run = ""

    def server_run(self) -> str:
        return self.run

    @contextmanager
    def begin(self, rehearsal: Rehearsal | None = None) -> Iterator[StoreTransaction]:
        with super().begin(rehearsal) as transaction:
            yield transaction
            if self.fails:
                raise SetupError("went away")


@pytest.fixture
def store() -> FailingStore:
    return FailingStore(StorePlan.of(FEATURES, NUMBERS))


Start = Callable[[FailingStore], Service]


@pytest.fixture
def start(world: World) -> Start:
    """What a worker starts with."""
    bundle = open_bundle(world.bundle("served")[0], public_key=world.keys / PUBLIC_KEY)

    def start(store: FailingStore) -> Service:
        logs = AppendLog(world.decisions, "decisions"), AppendLog(world.decisions, "labels")
        service = Service(store, Scorer(bundle, "1", store.plan), *logs)
        service.recover(last_decisions(world.decisions, RECENT), [])
        return service

    return start


@pytest.fixture
def service(start: Start, store: FailingStore) -> Service:
    return start(store)


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


def test_of_a_worker_that_was_killed_and_one_that_answered_instead_the_answer_counts(
    service: Service, store: FailingStore, start: Start, world: World
) -> None:
    other = start(store)
    store.fails = True
    with pytest.raises(SetupError):
        service.score([event(service, 1)])
    store.fails = False
    acknowledged = _answered(other, 1)
    orphan, answered = read_decisions(world.decisions)
    assert orphan.decision_id != answered.decision_id == acknowledged
    assert counting(read_decisions(world.decisions)) == answered
    replacement = start(store)
    start(store)
    assert [d for d in read_decisions(world.decisions) if d.void] == [
        msgspec.structs.replace(orphan, void=True)
    ]
    assert counting(read_decisions(world.decisions)) == answered
    assert replacement.answer(orphan.decision_id) is None
    assert replacement.answer(acknowledged) is not None


def test_of_a_worker_that_lost_its_locks_and_one_that_answered_before_the_answer_counts(
    service: Service, store: FailingStore, start: Start, world: World
) -> None:
    other = start(store)
    acknowledged = _answered(other, 1)
    service.store = as_it_was_seen = FailingStore(store.plan)
    as_it_was_seen.fails = True
    with pytest.raises(SetupError):
        service.score([event(service, 1)])
    service.store = store
    assert _answered(service, 1) == acknowledged
    answered, orphan, void = read_decisions(world.decisions)
    assert answered.decision_id == acknowledged != orphan.decision_id
    assert void == msgspec.structs.replace(orphan, void=True)
    assert counting(read_decisions(world.decisions)) == answered


def test_what_a_store_has_forgotten_it_is_given_by_any_worker_whoever_logged_it(
    service: Service, store: FailingStore, start: Start, world: World
) -> None:
    replaced = _answered(start(store), 1)
    idle = _answered(start(store), 2)
    _answered(service, 3)
    service.store = emptied = FailingStore(store.plan)
    emptied.run = "another"
    (fourth,) = service.score([event(service, 4)])
    assert msgspec.json.decode(fourth)["features"]["card_count_1d"] == 4
    assert [_answered(service, 1), _answered(service, 2)] == [replaced, idle]
    assert len(list(read_decisions(world.decisions))) == 4


def test_a_decision_that_a_store_has_forgotten_is_found_before_anything_is_scored(
    service: Service, store: FailingStore
) -> None:
    acknowledged = _answered(service, 1)
    service.store = emptied = FailingStore(store.plan)
    emptied.run = "another"
    assert service.answer(acknowledged) is not None


def test_what_was_forgotten_is_given_again_in_turns_between_which_nothing_is_scored(
    service: Service, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [_answered(service, number) for number in range(250)]
    service.label([_label(service, number, 1) for number in range(250)])
    service.store = emptied = FailingStore(store.plan)
    emptied.run = "another"
    monkeypatch.setattr(serving.service, "_TURN_S", 0.0)
    turns = 0
    while True:
        try:
            (next_,) = service.score([event(service, 250)])
            break
        except SetupError as error:
            assert "still being given" in str(error) and error.todo == "send the request again"
            assert _no_new_decision(service, 250)
            turns += 1
    assert msgspec.json.decode(next_)["features"]["card_count_1d"] == 251
    assert turns < 20  # a hundred events, or labels, at a time
    assert [_answered(service, number) for number in range(250)] == answers


def test_a_start_that_has_much_to_give_the_store_shows_that_it_goes_on(
    service: Service, store: FailingStore
) -> None:
    for number in range(250):
        _answered(service, number)
    service.store = FailingStore(store.plan)
    steps: list[int] = []
    decisions = last_decisions(service._decisions.folder, RECENT)
    assert service.recover(decisions, [], lambda: steps.append(service.store.count("answers"))) == 250
    assert {0, 100, 200, 250} <= set(steps)


def test_a_label_that_another_takes_while_older_ones_are_given_again_stays(
    service: Service, store: FailingStore, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answered(service, 1)
    service.label([_label(service, 1, 1), *(_label(service, number, 1) for number in range(1000, 1500))])
    service.store = emptied = FailingStore(store.plan)
    emptied.run = "another"
    monkeypatch.setattr(serving.service, "_TURN_S", 0.0)
    reads: list[int] = []
    read = serving.recovery.last_labels
    monkeypatch.setattr(serving.recovery, "last_labels", lambda *args: (reads.append(1), read(*args))[1])
    other = start(emptied)
    with pytest.raises(SetupError, match="still being given"):
        service.score([event(service, 2)])
    other.label([_label(other, 1, 0)])
    while True:
        with suppress(SetupError):
            service.score([event(service, 2)])
            break
    assert len(reads) <= 2
    later = service.scorer.reader.event(payment(900, shop=payment(1)["shop"], at="2024-03-05T01:00:00"))
    (answer,) = service.score([later])
    assert msgspec.json.decode(answer)["features"]["shop_rate_fraud_7d"] == 0.0


def test_one_event_that_does_not_fit_any_more_keeps_no_other_from_being_given_again(
    service: Service, store: FailingStore
) -> None:
    late = service.scorer.reader.event(payment(7, card=6, at="2024-03-01T00:00:00"))
    service.score([late])
    answers = [_answered(service, number) for number in (1, 2, 3)]
    service.store = emptied = FailingStore(store.plan)
    with emptied.begin() as transaction:
        transaction.forget(time_us("2024-03-02T00:00:00"))
    emptied.run = "another"
    assert [service.answer(answer) is not None for answer in answers] == [True] * 3
    assert emptied.count("answers") == 3


@pytest.mark.linux
def test_a_line_that_could_not_be_taken_back_is_the_decision_that_a_repeat_gets(
    store: FailingStore, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(world.bundle("served")[0], public_key=world.keys / PUBLIC_KEY)
    logs = AppendLog(world.decisions, "decisions", fsync=True), AppendLog(world.decisions, "labels")
    service = Service(store, Scorer(bundle, "1", store.plan), *logs)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(SetupError, match="Input/output error"):
            service.score([event(service, 1)])
        assert list(read_decisions(world.decisions)) == []
        patched.setattr(os, "ftruncate", fail)
        with pytest.raises(SetupError, match="Input/output error"):
            service.score([event(service, 1)])
    (logged,) = read_decisions(world.decisions)
    assert _answered(service, 1) == logged.decision_id
    assert len(list(read_decisions(world.decisions))) == 1


def test_of_two_decisions_that_a_store_has_forgotten_it_is_given_the_last(
    service: Service, store: FailingStore, start: Start, world: World
) -> None:
    other = start(FailingStore(store.plan))
    store.fails = True
    with pytest.raises(SetupError):
        service.score([event(service, 1)])
    acknowledged = _answered(other, 1)
    again = start(FailingStore(store.plan))
    assert _answered(again, 1) == acknowledged
    assert [d.void for d in read_decisions(world.decisions)] == [False, False, True]


def _answered(service: Service, number: int) -> str:
    """The id of the decision that a worker answers with."""
    (answer,) = service.score([event(service, number)])
    id_: str = msgspec.json.decode(answer)["decision_id"]
    return id_


def _label(service: Service, number: int, label: int) -> LabelRecord:
    sent = {"event_id": number, "label": label, "known_at": "2024-03-04T00:00:00"}
    return service.scorer.reader.label(sent, "")


def _no_new_decision(service: Service, number: int) -> bool:
    return all(decision.event_id != number for decision in service._decisions.last(10, Decision))


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"at": "2024-03-27T00:00:00"}, InputError, "[1].at"),  # its windows reach back to what was forgotten
        ({"at": "2024-03-01T00:00:00"}, InputError, "[1]"),
        ({"payment": 9, "at": "2024-04-30T00:00:00"}, ConflictError, "[1].payment"),
    ],
)
def test_what_does_not_fit_into_the_store_is_named_with_its_place_in_its_own_list(
    service: Service, store: FailingStore, changes: dict[str, Any], kind: type[Exception], field: str
) -> None:
    read, late = service.scorer.reader.event, "2024-04-20T00:00:00"
    counted = read(payment(9, at=late))
    with store.begin() as transaction:  # by a backfill, so that it has no answer
        transaction.append([EntryEncoder(store.plan)(counted.id, counted.time_us, counted.values)])
    forget(store, time_us("2024-03-20T00:00:00"))
    fits = [read(payment(1, at=late))]
    does_not = [read(payment(2, at=late), "[0]."), read(payment(3, **changes), "[1].")]
    answers, error = service.score_each([fits, does_not], ["", ""])
    assert isinstance(answers, list)
    assert type(error) is kind
    assert error.where == field


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
