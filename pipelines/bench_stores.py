"""Stores side by side on the same work: LMDB, and what was weighed against it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from mlops.bundle import Schema
from mlops.errors import ParityError
from mlops.settings import without_password
from mlops.storage import write_json
from pipelines.bench_online import LOAD, Latency, Load, Opener, TimedStore, fill, measure
from pipelines.bench_redis import redis_server
from pipelines.embedded_stores import RocksStore, SqliteStore
from serving.plan import StorePlan
from serving.stores import open_store

__all__ = ["StoreBench", "StoresBench", "bench_stores"]


class StoreBench(msgspec.Struct, frozen=True, kw_only=True):
    """One store.

    Fields:
        fill_s: seconds to append the events that are there at first, a thousand in a transaction.
        p50_ms, p99_ms, answered_p99_ms: see `Latency`.
        together_p99_ms: with two processes at the same store; None where only one can open it.
        mib: of its folder in the end; None where there is none.
    """

    store: str
    fill_s: float
    p50_ms: float
    p99_ms: float
    answered_p99_ms: float
    together_p99_ms: float | None
    mib: float | None


class StoresBench(msgspec.Struct, frozen=True, kw_only=True):
    """All stores. `load_before` is the load average of the minute before: above 0.5 times are not to be trusted.

    Fields:
        hot_key: LMDB's where one customer has made all of `hot_events` in the last 30 days.
    """

    keys: int
    events: int
    measured: int
    cores: int
    load_before: float
    stores: list[StoreBench]
    hot_events: int
    hot_key: Latency


def bench_stores(
    out: Path, load: Load = LOAD, *, hot: int = 1_000_000, others: Sequence[str] = ()
) -> StoresBench:
    """Time the stores one after another, and LMDB with a key of `hot` events; write `out`/stores.json.

    Redis is among them where there is a redis-server on the PATH.

    Args:
        out: the folder to write.
        load: the events.
        others: URIs of stores to be timed as well; they must be empty.

    Raises:
        ParityError: two stores gave other features.
    """
    load_before = os.getloadavg()[0]
    out.mkdir(parents=True, exist_ok=True)
    benches, checksums = [], {}
    with (
        tempfile.TemporaryDirectory(dir=out, prefix=".tmp-stores-") as scratch,
        redis_server(Path(scratch) / "redis") as redis,
    ):
        folder = Path(scratch) / "embedded"
        folder.mkdir()
        openers: dict[str, tuple[Opener, bool]] = {
            "LMDB": (partial(open_store, folder / "lmdb"), True),
            "SQLite, synchronous=OFF": (partial(_sqlite, folder / "off", "OFF"), True),
            "SQLite, synchronous=NORMAL": (partial(_sqlite, folder / "normal", "NORMAL"), True),
            "RocksDB": (partial(_rocks, folder / "rocks"), False),
        }
        if redis:
            openers["Redis, appendfsync=everysec"] = (partial(open_store, redis), True)
        openers |= {without_password(uri): (partial(open_store, uri), True) for uri in others}
        for name, (open_, shared) in openers.items():
            seconds = fill(open_, load)
            alone = measure(open_, load)
            checksums[name] = alone.checksum
            benches.append(
                StoreBench(
                    store=name,
                    fill_s=round(seconds, 1),
                    p50_ms=alone.p50_ms,
                    p99_ms=alone.p99_ms,
                    answered_p99_ms=alone.answered_p99_ms,
                    together_p99_ms=_together(open_, load) if shared else None,
                    mib=_mib(folder),
                )
            )
            for path in folder.iterdir():
                shutil.rmtree(path)
        one_key = msgspec.structs.replace(load, customers=1, before=hot, days=29)
        fill(open_hot := partial(open_store, folder / "hot"), one_key)
        hot_key = measure(open_hot, one_key)
    if len(set(checksums.values())) > 1:
        raise ParityError(f"stores differ in their features: {checksums}")
    result = StoresBench(
        keys=load.customers + load.terminals,
        events=load.before,
        measured=load.measured,
        cores=os.cpu_count() or 1,
        load_before=round(load_before, 2),
        stores=benches,
        hot_events=hot,
        hot_key=hot_key,
    )
    write_json(out / "stores.json", result)
    return result


def _together(open_: Opener, load: Load) -> float:
    """The p99 of two processes that go on with the events at the same time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        both = [pool.submit(measure, open_, load, round_=1, part=part, parts=2) for part in (0, 1)]
        return max(future.result().p99_ms for future in both)


def _mib(folder: Path) -> float | None:
    sizes = [path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()]
    return round(sum(sizes) / 2**20, 1) if sizes else None


def _sqlite(path: Path, synchronous: str, plan: StorePlan, schema: Schema) -> TimedStore:
    return SqliteStore(path, plan, synchronous)


def _rocks(path: Path, plan: StorePlan, schema: Schema) -> TimedStore:
    return RocksStore(path, plan)
