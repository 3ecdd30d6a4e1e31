"""What the bench of serving serves: trees over the published features, their bundle, history in the store, a key.

Events are a simulated world's. The model learns from the earlier ones; all of them are in the store when the server
starts. Load goes on where the world ends: the payments of its later part again, with new ids, at later times.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.api_keys import create_key
from mlops.bundle import Decisions
from mlops.contract import UseCase
from mlops.deployment import Deployed, Deployment, write_deployment
from mlops.metrics import best_thresholds
from mlops.settings import Settings
from pipelines.backfill import backfill
from pipelines.bench_trees import WORLD, Trees, train_trees

__all__ = ["Payments", "ServedWorld", "make_world"]

Floats = NDArray[np.float32]


class Payments:
    """Events without end, after those of the store: each has an id that is nobody else's.

    Args:
        id_column, time_column: of the events, which are `rest` besides; the times of all follow each other evenly.
        rest: JSON members without braces, of events that come one after the other, over and over.
    """

    def __init__(
        self,
        id_column: str,
        time_column: str,
        rest: Sequence[str],
        first_id: int,
        begin: datetime,
        gap_s: float,
    ) -> None:
        self.id_column, self.time_column, self.rest = id_column, time_column, rest
        self.first_id, self.begin, self.gap_s = first_id, begin, gap_s
        self.taken = 0

    def take(self, count: int) -> list[bytes]:
        """The next events as JSON."""
        numbers = range(self.taken, self.taken + count)
        self.taken += count
        return [self._event(number) for number in numbers]

    def for_script(self) -> tuple[str, ...]:
        """What `bench_serving.lua` needs to go on where `take` would."""
        begin = self.begin.timestamp() + self.taken * self.gap_s
        return (
            *(self.id_column, self.time_column, str(self.first_id + self.taken)),
            *(f"{begin:.3f}", f"{self.gap_s:.3f}"),
        )

    def shown(self) -> str:
        """One of them."""
        return self._event(0).decode()

    def _event(self, number: int) -> bytes:
        moment = self.begin + timedelta(seconds=int(number * self.gap_s))
        rest = self.rest[number % len(self.rest)]
        at = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        return f'{{"{self.id_column}":{self.first_id + number},"{self.time_column}":"{at}",{rest}}}'.encode()


class ServedWorld(msgspec.Struct, frozen=True, kw_only=True):
    """A home that can be served.

    Fields:
        home: of the pointer, store, decisions and signing keys.
        keys: the file of API keys; key: the one that may score.
        model: the fitted classifier, in its framework; it reads float32.
        rows: features of events that it has not learned from [n, f].
        scores: what it gives for them [n].
        events: how many are in the store.
    """

    home: Settings
    keys: Path
    key: str
    model: Any
    features: tuple[str, ...]
    rows: Floats
    scores: Floats
    payments: Payments
    events: int


def make_world(settings: Settings, folder: Path, *, world: Mapping[str, Any] = WORLD) -> ServedWorld:
    """Simulate, train, write the bundle, point at it, fill the store.

    Args:
        settings: whose use case has a simulator, published features and events that have times.
        world: knobs of the simulated world.

    Raises:
        ConfigError: the use case has none of that.
    """
    trees = train_trees(settings, folder, world=world)
    home = Settings(home=folder, usecase=settings.usecase)
    digest = trees.write(home.bundles / "trees", keys=home.keys, decisions=_decisions(trees))
    champion = Deployed(
        version="1",
        candidate="trees",
        framework="scikit-learn",
        uri=str(home.bundles / "trees"),
        digest=digest,
    )
    write_deployment(home.pointer, Deployment(name=trees.use_case.name, champion=champion))
    (folder / "events").mkdir()
    pq.write_table(trees.events, folder / "events" / "events.parquet")
    filled = backfill([folder / "events"], home.store_uri, trees.features, trees.schema)
    keys = folder / "api-keys.json"
    return ServedWorld(
        home=home,
        keys=keys,
        key=create_key(keys, "bench", ["score", "labels"]),
        model=trees.model,
        features=trees.features.names,
        rows=trees.rows,
        scores=trees.scores,
        payments=_payments(trees.use_case, trees.events, trees.known),
        events=filled.new,
    )


def _decisions(trees: Trees) -> Decisions | None:
    use_case, events = trees.use_case, trees.events[trees.known :]
    costs = use_case.policy.costs
    if costs is None or not use_case.amount:
        return None
    days = events[use_case.events.time].cast(pa.timestamp("us")).to_numpy().astype("datetime64[D]")
    review_at, decline_at = best_thresholds(
        trees.labels,
        trees.scores.astype(np.float64),
        events[use_case.amount].to_numpy(),
        costs,
        days.astype(np.int64),
    )
    return Decisions(review_at=min(review_at, 2.0), decline_at=min(decline_at, 2.0))


def _payments(use_case: UseCase, events: pa.Table, known: int) -> Payments:
    """The later events again, without ids, times and what is known only afterwards."""
    schema = use_case.events
    afterwards = set(use_case.label.columns)
    told = [c.name for c in schema.columns if c.name not in {schema.id, schema.time, *afterwards}]
    columns = [events[known:][name].to_pylist() for name in told]
    times = events[schema.time]
    first, last = times[0].as_py(), times[-1].as_py()
    ids = events[schema.id]
    return Payments(
        schema.id,
        schema.time,
        [
            json.dumps(
                {n: v for n, v in zip(told, row, strict=True) if v is not None}, separators=(",", ":")
            )[1:-1]
            for row in itertools.islice(zip(*columns, strict=True), 100_000)
        ],
        first_id=max(ids.to_pylist()) + 1,
        begin=last,
        gap_s=(last - first).total_seconds() / len(events),
    )
