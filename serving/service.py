"""What happens to a request, in its order: count the events, compute, score, write down, answer.

All of it is one transaction of the store, committed when the decisions are in the log, and answered after that. So a
process that dies leaves one of three things behind: nothing; lines in the logs that the store does not know, which
`recover` gives it at the next start; or an answer that was not sent, which a repeated request gets. The same is done
before the next request where a commit failed, and where the store's server was restarted and may have forgotten some.

Another worker may have answered the repeated request before that, with a decision of its own. Then the store has that
one, and whoever recovers the first writes down that it is void. So of the decisions in the log those that are not void
count, and of these the last.

The store keeps with each answer a digest of the event that it was given to, so that a repeated event is told from
another one under the same id.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter

import msgspec

from mlops.errors import BundleError, ConflictError, InputError, MlopsError, SetupError
from mlops.records import Decision, LabelRecord
from serving.answers import DIGEST_BYTES, answer_of, digest_of_event, event_id_in, new_decision_id, says
from serving.codes import encode_id
from serving.decisions import AppendLog, last_decisions, last_labels
from serving.entries import Entry, EntryEncoder
from serving.events import Event
from serving.instruments import BATCH_EVENTS, EVENTS_SCORED, LABELS, LOG_BYTES, LOG_FAILURES, SCORE, STAGES
from serving.metrics import WorkerMetrics
from serving.reachable import Reachable
from serving.recovery import RECENT, Recovery, encoded_label
from serving.scorer import Scorer
from serving.store import OnlineStore, StoreTransaction

__all__ = ["RECENT", "Service"]

_OWN = 1_000
"""The last decisions of its own that a worker looks at where one may not have come to the store."""

_TURN_S = 0.25
"""How long others wait for what a store is given once more."""
_STAGES = tuple(STAGES.of(stage) for stage in ("features", "model", "log", "commit"))
_TOTAL, _BATCH_EVENTS, _SCORES = STAGES.of("total"), BATCH_EVENTS.of(), SCORE.of()
_DECIDED = {name: EVENTS_SCORED.at(name or "none") for name in ("approve", "review", "decline", None)}
_LOG_BYTES, _LOG_FAILURES = LOG_BYTES.at(), LOG_FAILURES.at()
_LABELLED = LABELS.at("applied"), LABELS.at("held")
_log = logging.getLogger("serving")


class Service:
    """Scores events and takes labels. `scorer` may be replaced between two calls.

    Args:
        metrics: what is to count what it does, if anything.
    """

    def __init__(
        self,
        store: OnlineStore,
        scorer: Scorer,
        decisions: AppendLog,
        labels: AppendLog,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self.store = store
        self.reachable = Reachable(store)
        self.scorer = scorer
        self._decisions = decisions
        self._labels = labels
        self._encode = EntryEncoder(store.plan)
        self._run = store.server_run()
        self._received = ""  # the latest `received_at`: they keep the labels' order, whatever the clock does
        self._unsettled = False  # something is logged, but the commit failed, or nobody knows whether it did
        self._catching_up: tuple[str, Iterator[None]] | None = (
            None  # the server's run, and what is left to do
        )

    def score_each(
        self, requests: Sequence[Sequence[Event]], callers: Sequence[str]
    ) -> list[list[bytes] | MlopsError]:
        """What `score` gives, or raises, for the events of each request, as if they came one after the other.

        Args:
            callers: of each request: the name of the key that it came with.

        Raises:
            SetupError: the store or the log cannot be written to; nothing is answered.
        """
        events = [event for request in requests for event in request]
        try:
            by = [caller for request, caller in zip(requests, callers, strict=True) for _ in request]
            answers = iter(self.score(events, by))
            return [[next(answers) for _ in request] for request in requests]
        except (InputError, BundleError) as error:
            if len(requests) == 1:
                return [error]
        each: list[list[bytes] | MlopsError] = []
        # It is one of them that does not fit; nothing was counted.
        for request, caller in zip(requests, callers, strict=True):
            try:
                each.append(self.score(request, [caller] * len(request)))
            except (InputError, BundleError) as error:
                each.append(error)
        return each

    def score(self, events: Sequence[Event], callers: Sequence[str] = ()) -> list[bytes]:
        """An `AnswerWithFeatures` as JSON for each event: the first one that was ever given for its id.

        The events of one call are all counted before the first one's features are computed.

        Args:
            callers: of each event, if there is one to write down.

        Raises:
            ConflictError: an id was seen with another event; nothing is counted.
            InputError: a feature is out of range; nothing is counted.
            SetupError: the store or the log cannot be written to; nothing is answered.
        """
        self.catch_up()
        started = perf_counter()
        scorer = self.scorer
        ids = [encode_id(event.id) for event in events]
        digests = [digest_of_event(event.values) for event in events]
        asked: dict[bytes, tuple[Event, Entry]] = {}
        for id_, event in zip(ids, events, strict=True):
            if id_ not in asked:
                asked[id_] = event, self._encode(event.id, event.time_us, event.values)

        def rehearse(transaction: StoreTransaction) -> None:
            transaction.answers(list(asked))
            transaction.append([entry for _, entry in asked.values()])
            for pair in asked.values():
                scorer.features.compute(transaction, *pair)

        with self.store.begin(rehearse) as transaction:
            saved = {id_: known for id_, known in zip(ids, transaction.answers(ids), strict=True) if known}
            first = {id_: known[:DIGEST_BYTES] for id_, known in saved.items()}
            for id_, digest, event in zip(ids, digests, events, strict=True):
                if first.setdefault(id_, digest) != digest:
                    raise ConflictError(
                        f"another event came before under the id {event.id!r}",
                        where=f"{event.at}{scorer.reader.id}",
                        todo="send an event again as it was, or under an id of its own",
                    )
            fresh = {id_: pair for id_, pair in asked.items() if id_ not in saved}
            if fresh:
                rows = _computed(scorer, transaction, list(fresh.values()))
                computed = perf_counter()
                scores = _scored(scorer, rows, fresh.values())
                scored = perf_counter()
                by = dict(zip(reversed(ids), reversed(callers), strict=True)) if callers else {}
                decisions = self._decide(fresh, rows, scores, by)
                new = {
                    id_: first[id_] + answer_of(decision, self.scorer)
                    for id_, decision in zip(fresh, decisions, strict=True)
                }
                transaction.save_answers(new)
                saved |= new
                self._write(self._decisions, decisions)
                self._unsettled = True
                logged = perf_counter()
        self._unsettled = False
        if fresh and self._metrics:
            self._count(decisions, (started, computed, scored, logged, perf_counter()))
        return [saved[id_][DIGEST_BYTES:] for id_ in ids]

    def label(self, labels: Sequence[LabelRecord]) -> list[int | str]:
        """Take labels; return the ids of those held until their event arrives.

        Raises:
            SetupError: the store or the log cannot be written to; nothing is taken.
        """
        self.catch_up()
        encoded, self._received = [encoded_label(label) for label in labels], max(self._received, _now())
        with self.store.begin(lambda rehearsed: rehearsed.label(encoded)) as transaction:
            unknown = transaction.label(encoded)
            self._write(
                self._labels, [msgspec.structs.replace(label, received_at=self._received) for label in labels]
            )
            self._unsettled = True
        self._unsettled = False
        if self._metrics:
            self._metrics.cells[_LABELLED[0]] += len(labels) - len(unknown)
            self._metrics.cells[_LABELLED[1]] += len(unknown)
        return [labels[position].event_id for position in unknown]

    def answer(self, decision_id: str) -> bytes | None:
        """The `AnswerWithFeatures` as JSON that was given under this decision id, as long as the store has it.

        Raises:
            SetupError: the store cannot be asked, or is being given what it forgot.
        """
        id_ = event_id_in(decision_id)
        if id_ is None:
            return None
        self.catch_up()
        with self.store.begin(lambda rehearsed: rehearsed.answers([id_])) as transaction:
            (saved,) = transaction.answers([id_])
        return saved[DIGEST_BYTES:] if saved and says(saved, decision_id) else None

    def catch_up(self) -> None:
        """Give the store what it may not know of what this process logged, or, where it forgot, any that logs here.

        Of those some may have nothing to do, and some are gone. It takes so long a turn and no more: the rest is done
        before the next requests.

        Raises:
            SetupError: it is not done yet, or fails.
        """
        run = self.store.server_run()
        if run == self._run and not self._unsettled:
            return
        if self._catching_up is None or self._catching_up[0] != run:
            self._catching_up = run, self._steps(forgotten=run != self._run)
        (_, steps), self._catching_up = self._catching_up, None
        until = time.monotonic() + _TURN_S
        for _ in steps:
            if time.monotonic() >= until:
                self._catching_up = run, steps
                raise SetupError(
                    "the store is still being given what it does not know of the log",
                    todo="send the request again",
                )
        self._run, self._unsettled = run, False

    def recover(
        self,
        decisions: Sequence[Decision],
        labels: Sequence[LabelRecord],
        stepped: Callable[[], None] = lambda: None,
    ) -> int:
        """Give the store what was logged but not committed when the process died; return how many events.

        Of several decisions about one event it gets the last. Those that it has another for are written down as void.

        Events that do not fit the schema any more are passed over, with a warning; so are, without one, those of a key
        that was deleted since. Labels are set once more in
        their order, which changes nothing but what a backfill, or another server, has set otherwise since.

        Args:
            decisions: the last ones of their log, in its order.
            labels: the last ones of theirs, in its order.
            stepped: called after each transaction.
        """
        steps = self._recovery(decisions, labels)
        while True:
            try:
                next(steps)
                stepped()
            except StopIteration as end:
                return int(end.value)

    def _write(self, log: AppendLog, records: Sequence[Decision | LabelRecord]) -> None:
        try:
            written = log.write(records)
        except SetupError:
            self._unsettled = self._unsettled or _has_stayed(log, records)
            if self._metrics:
                self._metrics.cells[_LOG_FAILURES] += 1
            raise
        if self._metrics:
            self._metrics.cells[_LOG_BYTES] += written

    def _count(self, decisions: Sequence[Decision], moments: tuple[float, ...]) -> None:
        """Count a batch of decisions, and what an event of it took from one moment to the next."""
        metrics, events = self._metrics, len(decisions)
        assert metrics is not None
        for series, begun, ended in zip(_STAGES, moments[:-1], moments[1:], strict=True):
            metrics.observe(series, (ended - begun) / events, events)
        metrics.observe(_TOTAL, (moments[-1] - moments[0]) / events, events)
        metrics.observe(_BATCH_EVENTS, events)
        is_score = self.scorer.bundle.schema.task == "classification"
        for decision in decisions:
            metrics.cells[_DECIDED[decision.decision]] += 1
            if is_score:
                metrics.observe(_SCORES, decision.score)

    def _steps(self, *, forgotten: bool) -> Iterator[None]:
        if not forgotten:
            labels = last_labels(self._labels.folder, _OWN)
            yield from self._recovery(self._decisions.last(_OWN, Decision), labels)
            return
        decisions = last_decisions(self._decisions.folder, RECENT)
        count = yield from self._recovery(decisions, last_labels(self._labels.folder, RECENT))
        _log.warning("the store's server was restarted and had forgotten %d events", count)

    def _recovery(
        self, decisions: Sequence[Decision], labels: Sequence[LabelRecord]
    ) -> Generator[None, None, int]:
        self._received = max([self._received, *(label.received_at for label in labels)])
        recovery = Recovery(
            self.store,
            self.scorer,
            self._encode,
            self._labels.folder,
            lambda void: self._write(self._decisions, void),
        )
        return recovery.steps(decisions, labels)

    def _decide(
        self,
        fresh: Mapping[bytes, tuple[Event, Entry]],
        rows: Sequence[list[float]],
        scores: Sequence[float],
        callers: Mapping[bytes, str],
    ) -> list[Decision]:
        scorer, now = self.scorer, _now()
        return [
            Decision(
                decision_id=new_decision_id(event.id),
                event_id=event.id,
                scored_at=now,
                event=event.values,
                features=row,
                score=score,
                decision=scorer.decide(score),
                version=scorer.version,
                bundle=scorer.bundle.digest,
                caller=callers.get(id_, ""),
            )
            for (id_, (event, _)), row, score in zip(fresh.items(), rows, scores, strict=True)
        ]


def _computed(
    scorer: Scorer, transaction: StoreTransaction, pairs: Sequence[tuple[Event, Entry]]
) -> list[list[float]]:
    """Count events; return the features of each."""
    try:
        transaction.append([entry for _, entry in pairs])
    except InputError:
        for event, entry in pairs:  # the transaction is over: all that is asked is whose fault it is
            try:
                transaction.append([entry])
            except InputError as error:
                raise _placed(error, event) from None
        raise
    rows = []
    for event, entry in pairs:
        try:
            rows.append(scorer.features.compute(transaction, event, entry))
        except InputError as error:
            raise _placed(error, event) from None
    return rows


def _scored(
    scorer: Scorer, rows: Sequence[Sequence[float]], pairs: Iterable[tuple[Event, Entry]]
) -> list[float]:
    try:
        return scorer.score(rows)
    except InputError:
        for (event, _), row in zip(pairs, rows, strict=True):
            try:
                scorer.score([row])
            except InputError as error:
                raise _placed(error, event) from None
        raise


def _placed(error: InputError, event: Event) -> InputError:
    """The same, which names where the event stands in its list."""
    return type(error)(
        error.what, where=f"{event.at}{error.where or ''}".rstrip(".") or None, todo=error.todo
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _has_stayed(log: AppendLog, records: Sequence[Decision | LabelRecord]) -> bool:
    """Whether one of these is in the log though writing them failed: it could not be taken back, or nobody knows."""
    if not records:
        return False
    by_decision = isinstance(records[0], Decision)
    name = "decision_id" if by_decision else "received_at"
    try:
        last = log.last(1, Decision) if by_decision else log.last(1, LabelRecord)
    except (SetupError, OSError):
        return True
    return bool(last) and getattr(last[0], name) in {getattr(record, name) for record in records}
