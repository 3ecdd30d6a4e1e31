"""What each kind of aggregate takes online, for a key with a few events in its window and for a busy one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from mlops.features import (
    Count,
    Distinct,
    Feature,
    FeatureSet,
    Last,
    Max,
    Mean,
    Rolling,
    SinceFirst,
    SinceLast,
    Where,
)
from mlops.storage import write_json
from pipelines.bench_online import Load, fill, measure
from serving.stores import open_store

__all__ = ["KindBench", "KindsBench", "bench_kinds"]

_WINDOWS = ("1d", "7d", "30d")
_LARGE = Where(column="amount", minimum=150)


def _rolling(
    agg: Count | Mean | Max | Distinct | SinceFirst | SinceLast, where: Where | None = None
) -> Rolling:
    return Rolling(key="customer", agg=agg, windows=_WINDOWS, where=where, include_current=False)


KINDS: dict[str, Feature] = {
    "count": _rolling(Count()),
    "mean": _rolling(Mean(column="amount")),
    "mean where": _rolling(Mean(column="amount"), _LARGE),
    "time since first": _rolling(SinceFirst()),
    "time since last": _rolling(SinceLast()),
    "last 16": Last(key="customer", fields=("amount", "at"), n=16),
    "max": _rolling(Max(column="amount")),
    "distinct": _rolling(Distinct(column="terminal")),
}
TYPICAL = Load(customers=500, terminals=100, before=20_000, days=30, measured=2_000)
BUSY = Load(customers=1, terminals=10_000, before=100_000, days=29, measured=2_000)


class KindBench(msgspec.Struct, frozen=True, kw_only=True):
    """One kind over windows of 1, 7 and 30 days, appended and computed in one transaction.

    Fields:
        p50_ms, p99_ms: for a key with some forty events in 30 days.
        busy_p50_ms, busy_p99_ms: for one with `KindsBench.busy_events`.
        bytes_an_event: of the busy key's store.
    """

    kind: str
    p50_ms: float
    p99_ms: float
    busy_p50_ms: float
    busy_p99_ms: float
    bytes_an_event: int


class KindsBench(msgspec.Struct, frozen=True, kw_only=True):
    """All kinds. `load_before` is the load average of the minute before: above 0.5 times are not to be trusted."""

    busy_events: int
    cores: int
    load_before: float
    kinds: list[KindBench]


def bench_kinds(
    out: Path,
    typical: Load = TYPICAL,
    busy: Load = BUSY,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> KindsBench:
    """Time each kind of aggregate in LMDB; write `out`/kinds.json."""
    load_before, kinds = os.getloadavg()[0], []
    for kind, feature in KINDS.items():
        say(kind)
        features = FeatureSet((feature,))
        with tempfile.TemporaryDirectory() as folder:
            times = []
            for name, load in (("typical", typical), ("busy", busy)):
                open_ = partial(open_store, Path(folder) / name)
                fill(open_, load, features)
                times.append(measure(open_, load, features))
            size = (Path(folder) / "busy" / "data.mdb").stat().st_blocks * 512
        kinds.append(
            KindBench(
                kind=kind,
                p50_ms=times[0].p50_ms,
                p99_ms=times[0].p99_ms,
                busy_p50_ms=times[1].p50_ms,
                busy_p99_ms=times[1].p99_ms,
                bytes_an_event=round(size / (busy.before + 2 * busy.measured)),
            )
        )
    result = KindsBench(
        busy_events=busy.before, cores=os.cpu_count() or 1, load_before=round(load_before, 2), kinds=kinds
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "kinds.json", result)
    return result
