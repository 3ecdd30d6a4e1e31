"""What features cost: over history with Spark, for one day more, online, and side by side with what others use.

Spark and its peers compute the published features from the same Parquet files and write the same columns, one after
the other in one run. Incremental and online are the same features too.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.bundle import Schema
from mlops.contract import UseCase, load_dotted, load_use_case
from mlops.features import FeatureSet
from mlops.settings import Settings
from mlops.storage import write_json
from mlops.tables import (
    EventTable,
    Part,
    day_folder,
    read_event_table,
    read_feature_table,
    total_fingerprint,
    write_table_meta,
)
from pipelines import bench_peers, spark
from pipelines.agreement import Agreement, replay_both
from pipelines.bench_online import LOAD, fill, measure
from pipelines.bench_redis import redis_server
from pipelines.canonical import read_events
from pipelines.days import link_days
from pipelines.features import compute_features
from pipelines.hashing import table_fingerprint
from pipelines.incremental import update_features
from pipelines.simulate import simulate
from pipelines.validate import validate
from serving.plan import StorePlan
from serving.stores import open_store

__all__ = ["FeaturesBench", "bench_features"]

_EVERY_S = 0.2
_TEN_TIMES = {"customers": 50_000, "terminals": 100_000}
_REPLAYED = {"customers": 800, "terminals": 1_600, "days": 90, "start": "2018-02-01"}
_HOT_EVENTS = 1_000_000
_HOT_SHARE = 0.2
_GIB = 2**30


class FeaturesBench(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; a time in seconds is a median where it was taken more than once, and so are ratios.

    Fields:
        validate_1_75m_s, spark_1_75m_s, spark_17_5m_s: without the session's start; the larger table is left out
            of a quick run.
        spark_driver_gb, spark_workers_gb: peaks of resident memory, in GiB, of Java and of all Python workers together.
        incremental_day_ratio: one new day against all 183.
        skewed_key_ratio: the same events, but a fifth of them of one customer, against as they are.
        online_redis_p99_ms: None where there is no redis-server on the PATH.
        online_hot_key_p99_ms: where one customer has a million events in the window.
        parity_events, parity_max_abs_diff: all of the use case's features through both executors, see
            `pipelines.agreement`; `parity_differing` features have one bit or more that differs.
        peers: name → seconds.
        load_before: the load average of the minute before: above 0.5 times are not to be trusted.
    """

    simulate_1_75m_s: float
    validate_1_75m_s: float
    spark_1_75m_s: float
    spark_17_5m_s: float | None
    spark_driver_gb: float
    spark_workers_gb: float
    incremental_day_s: float
    incremental_day_ratio: float
    skewed_key_ratio: float
    online_embedded_p99_ms: float
    online_redis_p99_ms: float | None
    online_hot_key_p99_ms: float
    parity_events: int
    parity_max_abs_diff: float
    parity_differing: tuple[str, ...]
    peers: dict[str, float]
    events: int
    events_ten_times: int | None
    cores: int
    load_before: float


def bench_features(
    settings: Settings,
    out: Path,
    *,
    quick: bool = False,
    repeats: int = 3,
    say: Callable[[str], None] = print,
) -> FeaturesBench:
    """Measure, and write `out`/features.json.

    Args:
        quick: without the table of 17.5 million events.
        say: told what is being measured.
    """
    load = os.getloadavg()[0]
    use_case = load_use_case(settings.usecase)
    published: FeatureSet = load_dotted(f"{settings.usecase}.features:PUBLISHED")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".tmp-features-") as scratch:
        work = _Work(settings, use_case, published, Path(scratch), repeats, say)
        simulated = work.simulate("raw")
        validated, (history, skewed, day) = work.validate("raw"), work.spark()
        ten_times = None if quick else work.ten_times()
        peers = work.peers()
        embedded, redis, hot = work.online()
        agreement = work.agreement()
        result = FeaturesBench(
            simulate_1_75m_s=round(simulated, 2),
            validate_1_75m_s=round(validated, 2),
            spark_1_75m_s=round(history, 2),
            spark_17_5m_s=None if ten_times is None else round(ten_times[0], 1),
            spark_driver_gb=round(work.peak["java"] / _GIB, 2),
            spark_workers_gb=round(work.peak["workers"] / _GIB, 2),
            incremental_day_s=round(day, 3),
            incremental_day_ratio=round(day / history, 4),
            skewed_key_ratio=round(skewed / history, 2),
            online_embedded_p99_ms=embedded,
            online_redis_p99_ms=redis,
            online_hot_key_p99_ms=hot,
            parity_events=agreement.events,
            parity_max_abs_diff=agreement.max_abs_diff,
            parity_differing=agreement.differing,
            peers={name: round(seconds, 2) for name, seconds in peers.items()},
            events=read_event_table(work.events).rows,
            events_ten_times=None if ten_times is None else ten_times[1],
            cores=os.cpu_count() or 1,
            load_before=round(load, 2),
        )
    write_json(out / "features.json", result)
    return result


class _Work:
    """The measurements, each over what those before it left in the folder."""

    def __init__(
        self,
        settings: Settings,
        use_case: UseCase,
        published: FeatureSet,
        folder: Path,
        repeats: int,
        say: Callable[[str], None],
    ) -> None:
        self.settings = msgspec.structs.replace(settings, home=folder)
        self.use_case, self.published, self.folder = use_case, published, folder
        self.repeats, self.say = repeats, say
        self.events, self.features = folder / "events", folder / "features"
        self.peak: Counter[str] = Counter()

    def simulate(self, name: str, **knobs: object) -> float:
        self.say(f"simulate {name}")
        return _seconds(partial(simulate, self.settings, knobs, self.folder / name))

    def validate(self, name: str) -> float:
        self.say("validate")
        schema, label = self.use_case.events, self.use_case.label
        session = spark.session(self.settings)
        quarantine = self.folder / "quarantine"
        validate(session, self.folder / name, self.folder / "first", quarantine, schema, label)  # starts all
        return _seconds(
            partial(validate, session, self.folder / name, self.events, quarantine, schema, label)
        )

    def spark(self) -> tuple[float, float, float]:
        """Seconds over history, over the same with a skewed key, and for one new day."""
        self._skew()
        self._compute(self.events)  # starts the workers
        history = self._median("features over history", partial(self._compute, self.events))
        skewed = self._median("features with a skewed key", partial(self._compute, self.folder / "skewed"))
        self._compute(self.events)
        days = []
        for _ in range(self.repeats):
            self._forget_last_day()
            days.append(_seconds(self._update))
        return history, skewed, statistics.median(days)

    def ten_times(self) -> tuple[float, int]:
        """Seconds over ten times the events, and how many they are."""
        self.simulate("raw10", **_TEN_TIMES)
        table = _event_table(self.folder / "raw10", self.folder / "events10", self.use_case)
        shutil.rmtree(self.folder / "raw10")
        self.say("features over ten times the events")
        with self._watched_memory():
            return _seconds(partial(self._compute, self.folder / "events10")), table.rows

    def peers(self) -> dict[str, float]:
        found = {}
        spark.stop()  # they have the machine to themselves
        for name in bench_peers.PEERS:
            out = self.folder / f"{name}.parquet"
            run = partial(bench_peers.seconds, name, self.events, out)
            found[name] = self._median(f"features with {name}", run)
        return found

    def online(self) -> tuple[float, float | None, float]:
        """p99 in milliseconds: embedded, with Redis, and embedded with a hot key."""
        self.say("online features, embedded")
        one_key = msgspec.structs.replace(LOAD, customers=1, before=_HOT_EVENTS, days=29)
        found = []
        for name, load in (("store", LOAD), ("hot", one_key)):
            opener = partial(open_store, self.folder / name)
            fill(opener, load)
            found.append(measure(opener, load).p99_ms)
        redis = None
        with redis_server(self.folder / "redis") as uri:
            if uri is not None:
                self.say("online features, Redis")
                opener = partial(open_store, uri)
                fill(opener, LOAD)
                redis = measure(opener, LOAD).p99_ms
        return found[0], redis, found[1]

    def agreement(self) -> Agreement:
        """All features of a history, online and offline."""
        self.simulate("replayed", **_REPLAYED)
        self.say("one history through both executors")
        use_case = self.use_case
        history = read_events([self.folder / "replayed"], use_case.events, use_case.label)
        time_ = use_case.events.time
        history = history.set_column(
            history.column_names.index(time_), time_, history[time_].cast(pa.timestamp("us", "UTC"))
        )
        numbers = tuple(c.name for c in use_case.events.columns if pa.types.is_integer(history[c.name].type))
        ids = tuple(c.name for c in use_case.events.columns if c.type == "id" and c.name in numbers)
        schema = Schema(events=use_case.events, label=use_case.label, whole_number_ids=ids)
        store = open_store(self.folder / "replay", StorePlan.of(use_case.features, schema), schema)
        try:
            return replay_both(history, use_case.features, schema, store)
        finally:
            store.close()

    def _median(self, title: str, run: Callable[[], object]) -> float:
        self.say(title)
        with self._watched_memory():
            return statistics.median(_seconds(run) for _ in range(self.repeats))

    def _compute(self, events: Path) -> None:
        compute_features(
            spark.session(self.settings),
            [events],
            self.features,
            self.published,
            self.use_case.events,
            self.use_case.label,
        )

    def _update(self) -> None:
        result = update_features(
            self.events, self.features, self.published, self.use_case.events, self.use_case.label
        )
        assert len(result.days) == 1, result

    def _forget_last_day(self) -> None:
        """Make the feature table what it was before the last day's events came."""
        held = read_feature_table(self.features)
        last = max(held.days)
        days = {day: part for day, part in held.days.items() if day != last}
        before = self.folder / "before"
        before.mkdir()
        link_days(self.features, before, days)
        rows = sum(part.rows for part in days.values())
        sources = {day: held.sources[day] for day in days}
        meta = msgspec.structs.replace(
            held, days=days, sources=sources, rows=rows, fingerprint=total_fingerprint(days)
        )
        write_table_meta(before, meta)
        shutil.rmtree(self.features)
        before.rename(self.features)

    def _skew(self) -> None:
        """The events again, a fifth of them of one customer."""
        skewed, rng = self.folder / "skewed", np.random.default_rng(0)
        table, key = read_event_table(self.events), self.use_case.card
        for day in table.days:
            day_folder(skewed, day).mkdir(parents=True)
            for file in day_folder(self.events, day).glob("*.parquet"):
                rows = pq.ParquetFile(file).read()
                keys = np.where(rng.random(len(rows)) < _HOT_SHARE, 1, rows[key].to_numpy())
                rows = rows.set_column(rows.column_names.index(key), key, pa.array(keys, rows[key].type))
                pq.write_table(rows, day_folder(skewed, day) / file.name)
        write_table_meta(skewed, table)

    @contextmanager
    def _watched_memory(self) -> Iterator[None]:
        """Keep the peak of resident memory of Java, and of Spark's Python workers together."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_EVERY_S):
                self.peak |= _memory()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _seconds(run: Callable[[], object]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


def _memory() -> Counter[str]:
    found: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        try:
            kind = "java" if "java" in process.name() else "workers"
            found[kind] += process.memory_full_info().pss if kind == "workers" else process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found


def _event_table(raw: Path, folder: Path, use_case: UseCase) -> EventTable:
    """Day files as an event table; to validate them all would take minutes."""
    parts: dict[str, Part] = {}
    schema, first, last = use_case.events, "", ""
    for file in sorted(raw.glob("*.parquet")):
        rows = read_events([file], schema, use_case.label)
        moments = rows[schema.time].cast(pa.timestamp("us", "UTC"))
        rows = rows.set_column(rows.column_names.index(schema.time), schema.time, moments)
        day_folder(folder, file.stem).mkdir(parents=True)
        pq.write_table(rows, day_folder(folder, file.stem) / "part-0.parquet")
        parts[file.stem] = Part(rows=len(rows), fingerprint=table_fingerprint(rows))
        first, last = first or moments[0].as_py().isoformat(), moments[-1].as_py().isoformat()
    table = EventTable(
        rows=sum(part.rows for part in parts.values()),
        whole_number_ids=tuple(c.name for c in schema.columns if c.type == "id"),
        first_event=first,
        last_event=last,
        fingerprint=total_fingerprint(parts),
        days=parts,
    )
    write_table_meta(folder, table)
    return table
