"""What the page at `/` is told for an event that a person makes up, besides the event's schema.

An id that nobody has seen has no history, and its features say nothing. Where keys are off, which only a server for
its own machine may do, the page is given ids that the store knows, and the time that their events have come to. A
server that others reach tells nobody's ids: there the page says what an unknown one means.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

from mlops.aggregates import span_text
from mlops.bundle import Schema
from mlops.errors import SetupError
from serving.codes import decode_id, encode_time
from serving.events import time_text
from serving.service import Service
from serving.store import OnlineStore, StoreTransaction
from serving.tables import TOTALS

__all__ = ["hints"]

_LOOKED_AT = 200
"""Values of each key, of the first so many groups of the store: it is to take milliseconds."""
_GROUPS = 20_000

_AHEAD = 10
"""One key in so many may be further ahead than the time that is told: somebody scored by hand with today's date."""

_FIRST, _LAST = encode_time(-(2**63)), encode_time(2**63 - 1)


def hints(service: Service, *, asks_for_keys: bool) -> dict[str, Any]:
    """How to make an event up.

    Returns:
        `asks_for_key`; `keys`: the columns by which history is kept; `digits`: after the point, by unit; `looks_back`:
        how far before an event its history counts, in words; `known`: a value of each of `keys` that has a history;
        `newest`: the time that it has come to. The last three may be empty.
    """
    bundle = service.scorer.bundle
    keys = [] if asks_for_keys else list(bundle.features.by_key)
    known, newest_us = _known(service.store, keys, bundle.schema) if keys else ({}, None)
    return {
        "asks_for_key": asks_for_keys,
        "keys": list(bundle.features.by_key),
        "digits": {
            c.unit: c.decimals for c in bundle.schema.events.columns if c.unit and c.type == "decimal"
        },
        "looks_back": span_text(bundle.features.horizon_us) if bundle.features.horizon_us else "",
        "known": known,
        "newest": "" if newest_us is None else time_text(newest_us),
    }


def _known(store: OnlineStore, keys: list[str], schema: Schema) -> tuple[dict[str, Any], int | None]:
    found: dict[str, Any] = {}
    newest_us = None
    for key in keys:
        if schema.events.column(key).type == "boolean":
            continue  # both values are known, and the example is one of them
        try:
            lasts = _lasts(store, key)
        except SetupError:
            return {}, None  # /readyz says why the store cannot be reached
        if lasts:
            last_us, value = sorted(lasts)[-1 - len(lasts) // _AHEAD]
            found[key] = decode_id(value)
            newest_us = last_us if newest_us is None else max(newest_us, last_us)
    return found, newest_us


def _lasts(store: OnlineStore, key: str) -> list[tuple[int, bytes]]:
    """Of some values of a key: the time of the last event, and the value."""
    stream = [stream.key for stream in store.plan.streams].index(key)  # its first one has all of its events
    groups = (group[1:] for group in islice(store.scan(TOTALS), _GROUPS) if group[0] == stream)
    values = [value for value in islice(groups, _LOOKED_AT) if decode_id(value) is not None]
    act = partial(_look, stream=stream, values=values)
    with store.begin(act) as transaction:
        return act(transaction)


def _look(transaction: StoreTransaction, stream: int, values: list[bytes]) -> list[tuple[int, bytes]]:
    lasts = [transaction.last(stream, value, _FIRST, _LAST, 1) for value in values]
    return [(last[0][0], value) for last, value in zip(lasts, values, strict=True) if last]
