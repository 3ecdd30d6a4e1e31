"""What the online store says of one event: its features, and the events in each of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from mlops.aggregates import Aggregate
from mlops.bundle import Schema
from mlops.errors import ConfigError
from mlops.features import FeatureSet
from pipelines.agreement import as_sent
from pipelines.explain import Id, Online, frame_of
from serving.codes import decode_id, up_to, up_to_time
from serving.entries import EntryEncoder
from serving.events import EventReader
from serving.features import OnlineFeatures
from serving.plan import StorePlan
from serving.store import StoreTransaction
from serving.stores import open_store

__all__ = ["StoreView"]


class StoreView:
    """Asks a store about rows of an event table.

    Args:
        uri: of a store that is there.
        features: what is asked for, those of who answers; a store without their totals knows nothing of any event.
    """

    def __init__(self, uri: str, features: FeatureSet, schema: Schema) -> None:
        self._uri, self._features, self._schema = uri, features, schema

    def __call__(self, row: dict[str, Any], frames: Sequence[Aggregate]) -> Online | None:
        """The store's view of an event; None if it has not counted it, or lacks what the features need.

        Raises:
            SetupError: the store cannot be used.
        """
        schema = self._schema
        try:
            store = open_store(self._uri, StorePlan.of(self._features, schema), schema)
        except ConfigError:
            return None
        with closing(store):
            plan = store.plan
            event = EventReader(schema).event(as_sent(row, schema))
            entry = EntryEncoder(plan)(event.id, event.time_us, event.values)
            executor = OnlineFeatures(self._features, schema, plan)
            own = (
                up_to(entry.time_us, entry.id, inclusive=False),
                up_to(entry.time_us, entry.id, inclusive=True),
            )

            def ids(transaction: StoreTransaction, a: Aggregate) -> tuple[Id, ...]:
                low = up_to_time(entry.time_us - a.delay_us - a.window_us)
                high = up_to_time(entry.time_us - a.delay_us) if a.delay_us else own[a.include_current]
                key = entry.keys[plan.keys.index(a.key)]
                found = transaction.ids(plan.find(a.key, a.where), key, low, high)
                return tuple(id_ for data in found if (id_ := decode_id(data)) is not None)

            with store.begin() as transaction:
                if plan.keys and not transaction.ids(plan.find(plan.keys[0], None), entry.keys[0], *own):
                    return None
                values = executor.compute(transaction, event, entry)
                kept = {frame_of(a) for a in self._features.aggregates}
                windows = {frame: ids(transaction, frame) for frame in frames if frame in kept}
        return Online(dict(zip(executor.names, values, strict=True)), windows)
