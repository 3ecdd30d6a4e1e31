"""Follows the deployment's pointer: what it names is checked, made ready, and put in place of what answered before."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable

import msgspec

from mlops.bundle import open_bundle
from mlops.deployment import Deployed, Deployment, bundle_path, read_deployment
from mlops.errors import BundleError, MlopsError, SetupError
from mlops.settings import without_password
from serving.audit import Audit
from serving.decisions import AppendLog, damaged_lines, last_decisions, last_labels
from serving.instruments import BATCH_EVENTS, LABELS, LOG_DAMAGED, MODEL_LOADS, MODEL_REFUSED
from serving.metrics import WorkerMetrics
from serving.notes import Note, Refusal
from serving.options import Options
from serving.plan import StorePlan
from serving.scorer import Scorer
from serving.service import RECENT, Service
from serving.shared import Shared
from serving.store import OnlineStore
from serving.stores import is_in_place, open_store
from serving.supervisor import BEAT
from serving.troubles import Troubles

__all__ = ["Follower"]

_RETRY_SECONDS = 5.0
_LISTEN_SECONDS = 0.1
_MAX_REASON = 1000
_MAX_VERSION = 64
_ASKED, _LOOKED = 0, 1  # cells of the area `control`
_COMMITTED = (BATCH_EVENTS.of().sum, *(LABELS.at(outcome) for outcome in ("applied", "held")))
_log = logging.getLogger("serving")


class Follower:
    """Holds the service that answers, or none yet; the last refusal, if what the pointer names was refused; and what
    is waited for, if there is no pointer yet.

    The store is opened with the first bundle that is put in place. `close` ends what it holds.
    """

    def __init__(self, options: Options, metrics: WorkerMetrics, shared: Shared) -> None:
        self.service: Service | None = None
        self.refused: Refusal | None = None
        self.waiting: str | None = None
        self.troubles = Troubles(options.decisions, options.store_folder, options.audit, self._committed)
        self._options = options
        self._metrics = metrics
        self._shared = shared
        self._control = shared.mine("control")
        self._logs = self._open_log("decisions"), self._open_log("labels")
        self._seen: tuple[int, ...] = ()
        self._retry_at: float | None = None  # where what was seen is to be tried again
        self._checking = threading.Lock()
        self._found: Scorer | None = None
        self.settle: Callable[[], None] = lambda: None
        """Called before another scorer is put in place: what was read for the one before is to be scored by it."""
        self.audit = Audit(options.audit)
        """The log of administrative calls, kept beside the other two."""
        self._write_note()

    def check(self) -> Scorer | None:
        """Look at the pointer; return what is to be put in place with `put`, if there is something.

        It may run beside requests: it changes nothing that they read. What is refused is tried again every few
        seconds, as what was missing may have come; or now, if a worker was asked to look.
        """
        with self._checking:
            looked = time.monotonic()
            scorer = self._check(again=self._is_asked())
            self._control[_LOOKED] = looked
        return scorer

    def put(self, scorer: Scorer) -> None:
        """Let `scorer` answer from the next request on, unless another was found since."""
        assert self.service is not None
        if scorer is not self._found:
            return
        self.settle()
        self.service.scorer = scorer
        self._metrics.cells[MODEL_LOADS.at("loaded")] += 1
        self._write_note()
        _log.info("version %s of %s answers", scorer.version, scorer.bundle.manifest.name)

    async def look(self) -> None:
        """Check, beside requests, and put in place what is found."""
        scorer = await asyncio.to_thread(self.check)
        if scorer is not None:
            self.put(scorer)

    async def follow(self) -> None:
        """Look at the pointer every `poll_seconds`, and soon when a worker was asked to; it never ends.

        What was not foreseen ends it, and then the worker: another takes its place.
        """
        poll_seconds = self._options.poll_seconds
        due = time.monotonic()
        while True:
            if self._is_asked() or time.monotonic() >= due:
                await self.look()
                due = time.monotonic() + poll_seconds
                for log in (*self._logs, self.audit):
                    log.rotate_if_due()
                self._metrics.cells[LOG_DAMAGED.at()] = sum(damaged_lines().values())
            if self.service is not None and self.troubles.is_due():
                await asyncio.to_thread(self.troubles.look, self.service.store)
            await asyncio.sleep(min(_LISTEN_SECONDS, poll_seconds))

    def why_end(self) -> str | None:
        """Why this worker is of no use any more and another is to take its place: its store is another by now."""
        in_folder = self._options.store_folder is not None
        if in_folder and self.service is not None and not is_in_place(self.service.store):
            return "the folder of the store was removed, or is another"
        return self.troubles.anew

    def ask(self) -> float:
        """Have all workers look at the pointer; return what `looked` is to be asked."""
        self._control[_ASKED] = asked = time.monotonic()
        return asked

    def looked(self, asked: float) -> list[bool]:
        """Which workers have looked since."""
        return [part[_LOOKED] >= asked for part in self._shared.parts("control")[: self._shared.workers]]

    def close(self) -> None:
        """Close the store and the logs."""
        for log in self._logs:
            log.close()
        self.audit.close()
        if self.service is not None:
            self.service.store.close()

    def _open_log(self, prefix: str) -> AppendLog:
        options = self._options
        return AppendLog(
            options.decisions,
            prefix,
            fsync=options.fsync,
            rotate_bytes=options.rotate_bytes,
            rotate_seconds=options.rotate_seconds,
        )

    def _committed(self) -> float:
        """A number that grows with all that is both in a log and in the store."""
        return sum(self._metrics.cells[place] for place in _COMMITTED)

    def _is_asked(self) -> bool:
        asked = max(part[_ASKED] for part in self._shared.parts("control"))
        return asked > self._control[_LOOKED]

    def _check(self, *, again: bool) -> Scorer | None:
        pointer = self._options.pointer
        version = "unknown"
        seen: tuple[int, ...] = ()
        deployment: Deployment | None = None
        try:
            stat = pointer.stat()
            self.waiting = None
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            waits = self._retry_at is None or (time.monotonic() < self._retry_at and not again)
            if seen == self._seen and waits:
                return None
            deployment = read_deployment(pointer)
            if deployment is None:
                raise FileNotFoundError
            champion = deployment.champion
            version = champion.version
            scorer = None if self._answers(champion) else self._load(champion)
            self._found = scorer
        except FileNotFoundError:
            if self.service is not None:
                self._refuse(version, SetupError("is gone", where=pointer, todo="promote, or roll back"))
            elif self.waiting is None:
                self.waiting = f"no pointer at {pointer}; promotion writes it"
                _log.warning("nothing answers yet: %s", self.waiting)
            self._seen = ()
            return None
        except _StoreFailsError as failed:
            self.refused = None  # it is no fault of the bundle
            self._metrics.cells[MODEL_REFUSED.at()] = 0
            self.troubles.failed(failed.error)
            self._write_note()
            self._seen, self._retry_at = seen, time.monotonic() + _RETRY_SECONDS
            return None
        except Exception as error:  # noqa: BLE001 - whatever step fails, and how: what answers goes on
            self.waiting = None
            self._refuse(version, error)
            self._seen, self._retry_at = seen, time.monotonic() + _RETRY_SECONDS
            return self._before(deployment)
        if self.refused is not None and scorer is None:  # else what is put in place says so
            _log.info("nothing is refused any more: version %s still answers", version)
        self._seen, self.refused, self._retry_at = seen, None, None
        self._metrics.cells[MODEL_REFUSED.at()] = 0
        self._write_note()
        return scorer

    def _before(self, deployment: Deployment | None) -> Scorer | None:
        """What answered before what was refused, for a worker that has nothing yet: as the others go on with it."""
        if self.service is not None or deployment is None or deployment.previous is None:
            return None
        try:
            self._found = self._load(deployment.previous)
        except _StoreFailsError as failed:
            self.troubles.failed(failed.error)
            return None
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("nor does version %s answer: %s", deployment.previous.version, _line(error))
            return None
        return self._found

    def _answers(self, champion: Deployed) -> bool:
        if self.service is None:
            return False
        scorer = self.service.scorer
        return (scorer.version, scorer.bundle.digest) == (champion.version, champion.digest)

    def _refuse(self, version: str, error: Exception) -> None:
        reason = _line(error)
        refusal = Refusal(version=version[:_MAX_VERSION], reason=reason[:_MAX_REASON])
        if refusal != self.refused:
            unforeseen = None if isinstance(error, MlopsError | OSError) else error
            _log.error("refused version %s: %s", version, reason, exc_info=unforeseen)
            self._metrics.cells[MODEL_LOADS.at("refused")] += 1
        self.refused = refusal
        self._metrics.cells[MODEL_REFUSED.at()] = 1
        self._write_note()

    def _load(self, champion: Deployed) -> Scorer:
        options = self._options
        bundle = open_bundle(bundle_path(options.pointer, champion), public_key=options.public_key)
        if bundle.digest != champion.digest:
            raise BundleError(f"has the digest {bundle.digest}, not {champion.digest}", where=bundle.path)
        needed = StorePlan.of(bundle.features, bundle.schema)
        if self.service is not None:
            plan = self.service.store.plan
            plan.check_serves(needed, bundle.schema, where=without_password(options.store))
            return Scorer(bundle, champion.version, plan)
        try:
            store = open_store(options.store, needed, bundle.schema)
        except SetupError as error:
            raise _StoreFailsError(error) from None
        try:
            scorer = Scorer(bundle, champion.version, store.plan)
            self.service = self._served(store, scorer)
        except BaseException:
            store.close()
            raise
        self.troubles.is_over()
        return scorer

    def _served(self, store: OnlineStore, scorer: Scorer) -> Service:
        folder = self._options.decisions
        try:
            service = Service(store, scorer, *self._logs, self._metrics)
            logged = last_decisions(folder, RECENT), last_labels(folder, RECENT)
            if recovered := service.recover(*logged, self._beat):
                _log.info("recovered %d events from the decision log", recovered)
        except SetupError as error:
            raise _StoreFailsError(error) from None
        return service

    def _beat(self) -> None:
        """Let the supervisor see that a start that takes long goes on."""
        self._control[BEAT] += 1

    def _write_note(self) -> None:
        note = Note(pid=os.getpid(), refused=self.refused)
        if self.service is not None:
            scorer = self.service.scorer
            note = msgspec.structs.replace(
                note,
                name=scorer.bundle.manifest.name[:_MAX_VERSION],
                version=scorer.version[:_MAX_VERSION],
                digest=scorer.bundle.digest,
            )
        self._shared.write_note(msgspec.json.encode(note))


class _StoreFailsError(Exception):
    """The store or the log cannot be used, whatever bundle it is."""

    def __init__(self, error: SetupError) -> None:
        super().__init__(error)
        self.error = error


def _line(error: Exception) -> str:
    if isinstance(error, MlopsError):
        return error.line()
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: cannot be read: {error.strerror}"
    return f"{type(error).__name__}: {error}"
