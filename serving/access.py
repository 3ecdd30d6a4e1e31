"""Who may ask: API keys with scopes and rates, from a file that is read again when it changed."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Mapping
from hmac import compare_digest
from pathlib import Path

from mlops.api_keys import ApiKey, Scope, parse_keys, read_keys
from mlops.errors import ConfigError
from serving.audit import Audit
from serving.http import Problem, Request
from serving.rates import Rates, slots, tolerance
from serving.shared import Shared

__all__ = ["Access"]

LOCAL = "local"
"""The caller where no keys are asked for."""

_HEAD = 8
_PATIENCE = 10  # looks, of which there are two a second
_sha256 = hashlib.sha256
_monotonic = time.monotonic
_log = logging.getLogger("serving.access")


class _Known:
    """A key as it is looked up."""

    __slots__ = ("ahead", "digest", "expires", "interval", "key", "name", "scopes", "slot")

    def __init__(self, key: ApiKey, digest: bytes, slot: int) -> None:
        self.key = key
        self.name = key.name
        self.digest = digest
        self.scopes = frozenset(key.scopes)
        self.expires = math.inf if key.expires_at is None else key.expires_at.timestamp()
        self.slot = slot
        self.interval = 0.0 if key.rate_per_second is None else 1.0 / key.rate_per_second
        self.ahead = tolerance(self.interval, key.burst)


class Access:
    """The door of one worker.

    Neither keys nor the file's content are kept: only hashes, as they stand in the file.

    Args:
        keys: the file (see `mlops.api_keys`); None lets everybody do everything, as the caller "local".
        audit: where refused calls of administration are written down.

    Raises:
        ConfigError: the file cannot be read, or is not such a file.

    Attributes:
        fault: why the file, as it is now, is not followed; empty where it is.
    """

    def __init__(self, keys: Path | None, shared: Shared, audit: Audit | None = None) -> None:
        self._path = keys
        self._rates = Rates(shared)
        self._audit = audit
        self._known: dict[bytes, _Known] = {}
        self._read = b""
        self._reader: threading.Thread | None = None
        self._waited = 0
        self.fault = ""
        if keys is not None:
            self._follow(keys)

    def check(self, request: Request, scope: Scope) -> None:
        """Let a request pass, and say in it who sent it.

        Raises:
            Problem: 401 no key, an unknown or an expired one; 403 it may not do this; 429 it asks too often.
        """
        if self._path is None:
            request.caller = LOCAL
            return
        known = self._find(request.headers)
        request.caller = known.name
        if known.interval:
            wait = self._rates.take(known.slot, known.interval, known.ahead, _monotonic())
            if wait:
                raise _too_many(known.key, wait)
        if scope not in known.scopes:
            self._forbid(request, known, scope)

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Let a large body come, for which memory has to be found, only from who has a key.

        Raises:
            Problem: 401 no key, an unknown or an expired one.
        """
        if self._path is not None:
            self._find(headers)

    def _find(self, headers: Mapping[bytes, bytes]) -> _Known:
        given = headers.get(b"authorization")
        if given is not None and given[:7].lower() == b"bearer ":
            given = given[7:]
        else:
            given = headers.get(b"x-api-key")
            if given is None:
                raise _unauthorised(
                    b"", "no API key: send one as Authorization: Bearer KEY or X-API-Key: KEY"
                )
        # Neither step tells by its time how much of a key was right: the table is found by a part of a hash, which
        # nobody can steer, and all of it is then compared in constant time.
        digest = _sha256(given.strip()).digest()
        known = self._known.get(digest[:_HEAD])
        if known is None or not compare_digest(known.digest, digest):
            raise _unauthorised(b', error="invalid_token"', "the API key is not known")
        if known.expires != math.inf and known.expires <= time.time():
            raise _unauthorised(b', error="invalid_token"', f"the API key {known.name!r} has expired")
        return known

    def follow(self) -> None:
        """Have a thread `refresh`, unless one still does: a file on a server that does not answer keeps nobody else
        waiting, not even the end of the process. To be called twice a second.
        """
        if self._path is None:
            return
        if self._reader is not None and self._reader.is_alive():
            self._waited += 1
            if self._waited == _PATIENCE:
                self._report(f"{self._path}: cannot be read: no answer for {_PATIENCE // 2} s")
            return
        self._waited = 0
        self._reader = threading.Thread(target=self.refresh, daemon=True)
        self._reader.start()

    def refresh(self) -> None:
        """Follow the file if it changed; one that cannot be read, or makes no sense, changes nothing but `fault`."""
        if self._path is None:
            return
        try:
            self._follow(self._path)
        except ConfigError as error:
            self._report(error.line())
        else:
            self._report("")

    def _follow(self, path: Path) -> None:
        data = read_keys(path)
        if data == self._read:
            return
        keys = parse_keys(data, path)
        digests = [bytes.fromhex(key.sha256) for key in keys]
        places = slots(digests)
        known = [_Known(key, digest, places[digest]) for key, digest in zip(keys, digests, strict=True)]
        self._known = {entry.digest[:_HEAD]: entry for entry in known}
        self._read = data
        _log.info("API keys followed: %s", ", ".join(sorted(key.name for key in keys)) or "none")

    def _report(self, fault: str) -> None:
        if fault and fault != self.fault:
            _log.error("API keys stay as they were: %s", fault)
        elif self.fault and not fault:
            _log.info("the file of API keys is followed again")
        self.fault = fault

    def _forbid(self, request: Request, known: _Known, scope: Scope) -> None:
        if scope == "admin" and self._audit is not None:
            self._audit.record(request, request.path, "refused: the key has no scope admin")
        raise Problem(
            403,
            f"the API key {known.name!r} may not do this: it has no scope {scope}",
            headers={b"www-authenticate": b'Bearer error="insufficient_scope", scope="%s"' % scope.encode()},
            reason="auth",
        )


def _unauthorised(error: bytes, detail: str) -> Problem:
    """A 401, with the challenge of RFC 6750."""
    challenge = b'Bearer realm="scoring"' + error
    return Problem(401, detail, headers={b"www-authenticate": challenge}, reason="auth")


def _too_many(key: ApiKey, wait: float) -> Problem:
    return Problem(
        429,
        f"the API key {key.name!r} may ask {key.rate_per_second:g} times a second, and {key.burst} at once",
        headers={b"retry-after": b"%d" % max(1, math.ceil(wait))},
        reason="rate",
    )
