"""Follows the deployment's pointer: what it names is checked, made ready, and put in place of what answered before."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from mlops.bundle import open_bundle
from mlops.deployment import Deployment, bundle_path, read_deployment
from mlops.errors import BundleError, MlopsError
from mlops.settings import without_password
from serving.decisions import AppendLog, last_decisions, last_labels
from serving.plan import StorePlan
from serving.scorer import Scorer
from serving.service import RECENT, Service
from serving.stores import open_store

__all__ = ["MAX_EVENTS", "MAX_LABELS", "Follower", "Refusal"]

MAX_EVENTS = 100
"""Events in one request."""

MAX_LABELS = 1000
"""Labels in one request: other requests wait for a fraction of a second."""

_RETRY_SECONDS = 5.0
_log = logging.getLogger("serving")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What was not put in place, and why."""

    version: str
    reason: str


class Follower:
    """Holds the service that answers, or none yet, and the last refusal, if what the pointer names was refused.

    Args:
        pointer: the file that promotion writes.
        public_key: what bundles must be signed for.
        store: URI of the online store; opened with the first bundle that is put in place.
        decisions: folder of the decision log and the label log.
    """

    def __init__(self, pointer: Path, public_key: Path, store: str | Path, decisions: Path) -> None:
        self.service: Service | None = None
        self.refused: Refusal | None = None
        self._pointer = pointer
        self._public_key = public_key
        self._store = store
        self._decisions = decisions
        self._logs = AppendLog(decisions, "decisions"), AppendLog(decisions, "labels")
        self._seen: tuple[int, ...] = ()
        self._retry_at = 0.0

    def check(self) -> Scorer | None:
        """Look at the pointer; return what is to be put in place with `put`, if there is something.

        It may run beside requests: it changes nothing that they read. What is refused is tried again every few
        seconds, as what was missing may have come.
        """
        version = "unknown"
        seen: tuple[int, ...] = ()
        try:
            stat = self._pointer.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen and (self.refused is None or time.monotonic() < self._retry_at):
                return None
            deployment = read_deployment(self._pointer)
            if deployment is None:
                return None
            version = deployment.champion.version
            scorer = self._load(deployment)
        except FileNotFoundError:
            return None
        except (MlopsError, OSError) as error:
            reason = error.line() if isinstance(error, MlopsError) else str(error)
            refusal = Refusal(version=version, reason=reason)
            if refusal != self.refused:
                _log.error("refused version %s: %s", version, reason)
            self.refused = refusal
            self._seen, self._retry_at = seen, time.monotonic() + _RETRY_SECONDS
            return None
        self._seen, self.refused = seen, None
        return scorer

    def put(self, scorer: Scorer) -> None:
        """Let `scorer` answer from the next request on."""
        assert self.service is not None
        self.service.scorer = scorer
        _log.info("version %s of %s answers", scorer.version, scorer.bundle.manifest.name)

    def close(self) -> None:
        """Close the store and the logs."""
        for log in self._logs:
            log.close()
        if self.service is not None:
            self.service.store.close()

    def _load(self, deployment: Deployment) -> Scorer:
        champion = deployment.champion
        bundle = open_bundle(bundle_path(self._pointer, champion), public_key=self._public_key)
        if bundle.digest != champion.digest:
            raise BundleError(f"has the digest {bundle.digest}, not {champion.digest}", where=bundle.path)
        needed = StorePlan.of(bundle.features, bundle.schema)
        if self.service is not None:
            plan = self.service.store.plan
            plan.check_serves(needed, bundle.schema, where=without_password(str(self._store)))
            return Scorer(bundle, champion.version, plan)
        store = open_store(self._store, needed, bundle.schema)
        try:
            service = Service(store, Scorer(bundle, champion.version, store.plan), *self._logs)
            decisions = last_decisions(self._decisions, RECENT)
            if recovered := service.recover(decisions, last_labels(self._decisions, RECENT)):
                _log.info("recovered %d events from the decision log", recovered)
        except BaseException:
            store.close()
            raise
        self.service = service
        return service.scorer
