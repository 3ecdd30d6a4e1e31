"""Giving a store what it may not know of what was logged, a hundred at a time.

Others score meanwhile, and may give it the same: what it knows by then is passed over. It can be left between two steps
and gone on with later, and begun again where it broke off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mlops.errors import InputError
from mlops.records import Decision, LabelRecord
from serving.answers import answer_of, digest_of_event, says
from serving.codes import encode_id
from serving.decisions import last_labels
from serving.entries import Entry, EntryEncoder
from serving.events import Event, time_us
from serving.scorer import Scorer
from serving.store import OnlineStore, StoreTransaction

__all__ = ["RECENT", "Recovery", "encoded_label"]

RECENT = 5_000
"""Decisions, and labels, of each worker that are given once more to a store that may not know them: Redis may forget
two seconds."""

_AT_ONCE = 100
_LOOKED_UP = 1_000
_log = logging.getLogger("serving")


class Recovery:
    """What is given to a store, and how.

    Args:
        folder: of the label log, where other workers write newer ones meanwhile.
        write: puts decisions into the log.
    """

    def __init__(
        self,
        store: OnlineStore,
        scorer: Scorer,
        encode: EntryEncoder,
        folder: Path,
        write: Callable[[Sequence[Decision]], None],
    ) -> None:
        self._store = store
        self._scorer = scorer
        self._encode = encode
        self._folder = folder
        self._write = write
        self._seen: dict[Path, int] | None = None
        self._newest: Mapping[int | str, LabelRecord] = {}

    def steps(
        self, decisions: Sequence[Decision], labels: Sequence[LabelRecord]
    ) -> Generator[None, None, int]:
        """Do it, and stop after each transaction; return how many events the store did not know.

        Args:
            decisions: the last ones of their log, in its order.
            labels: the last ones of theirs, in its order.
        """
        void = {decision.decision_id for decision in decisions if decision.void}
        asked = [decision for decision in reversed(decisions) if decision.decision_id not in void]
        known = yield from self._answers(asked)
        missing = [decision for decision, answer in zip(asked, known, strict=True) if answer is None]
        lost = _given_others(asked, known)
        recovered = 0
        for start in range(0, len(missing), _AT_ONCE):
            recovered += self._give(missing[start : start + _AT_ONCE])
            yield
        lost += _given_others(missing, (yield from self._answers(missing)))
        if lost:
            self._write([msgspec.structs.replace(decision, void=True) for decision in lost])
            _log.warning("%d decisions are void: their events were given others", len(lost))
        for start in range(0, len(labels), _AT_ONCE):
            self._set(labels[start : start + _AT_ONCE])
            yield
        return recovered

    def _answers(self, decisions: Sequence[Decision]) -> Generator[None, None, list[bytes | None]]:
        """What the store has for their events."""
        known: list[bytes | None] = []
        for start in range(0, len(decisions), _LOOKED_UP):
            ids = [encode_id(decision.event_id) for decision in decisions[start : start + _LOOKED_UP]]
            with self._store.begin(_asking(ids)) as transaction:
                known += transaction.answers(ids)
            yield
        return known

    def _give(self, decisions: Sequence[Decision]) -> int:
        """Count the events that are not known, with their answers: all at once, or each if one does not fit."""
        try:
            return self._give_all(decisions)
        except InputError as error:
            if len(decisions) > 1:
                return sum(self._give([decision]) for decision in decisions)
            _log.warning("logged event %s is not recovered: %s", decisions[0].event_id, error)
            return 0

    def _give_all(self, decisions: Sequence[Decision]) -> int:
        found: dict[bytes, tuple[Decision, Event, Entry]] = {}
        for decision in decisions:
            event = self._scorer.reader.event(decision.event)
            entry = self._encode(event.id, event.time_us, event.values)
            found.setdefault(entry.id, (decision, event, entry))

        def rehearse(transaction: StoreTransaction) -> None:
            transaction.answers(list(found))
            for _, _, entry in found.values():
                transaction.deleted_us(entry.keys)
            transaction.append([entry for _, _, entry in found.values()])

        with self._store.begin(rehearse) as transaction:
            fresh = {}
            for (id_, each), answer in zip(found.items(), transaction.answers(list(found)), strict=True):
                deleted_us = transaction.deleted_us(each[2].keys)
                if answer is None and (deleted_us is None or time_us(each[0].scored_at) > deleted_us):
                    fresh[id_] = each
            transaction.append([entry for _, _, entry in fresh.values()])
            transaction.save_answers(
                {
                    id_: digest_of_event(event.values) + answer_of(decision, self._scorer)
                    for id_, (decision, event, _) in fresh.items()
                }
            )
        return len(fresh)

    def _set(self, labels: Sequence[LabelRecord]) -> None:
        encoded = [encoded_label(label) for label in labels]
        with self._store.begin(lambda rehearsed: rehearsed.label(encoded)) as transaction:
            # Others may have taken newer ones since these were read; from here on they wait.
            self._read_newest()
            transaction.label([encoded_label(self._newest.get(label.event_id, label)) for label in labels])

    def _read_newest(self) -> None:
        """Read the label logs, if something was written to one since they were read."""
        sizes: dict[Path, int] = {}
        for path in self._folder.glob("labels-*.jsonl"):
            with suppress(FileNotFoundError):  # archived, and kept long enough
                sizes[path] = path.stat().st_size
        if sizes != self._seen:
            self._newest = {label.event_id: label for label in last_labels(self._folder, RECENT)}
            self._seen = sizes


def encoded_label(label: LabelRecord) -> tuple[bytes, int | float, int]:
    """As a store's transaction takes it."""
    return encode_id(label.event_id), label.label, time_us(label.known_at)


def _given_others(decisions: Sequence[Decision], answers: Sequence[bytes | None]) -> list[Decision]:
    """Those whose events the store has other decisions for."""
    return [
        decision
        for decision, answer in zip(decisions, answers, strict=True)
        if answer and not says(answer, decision.decision_id)
    ]


def _asking(ids: Sequence[bytes]) -> Callable[[StoreTransaction], object]:
    return lambda transaction: transaction.answers(ids)
