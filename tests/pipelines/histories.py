"""Small histories made to go wrong: ties, borders hit to the microsecond, nulls, clocks that change, and ids that
sort differently as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.features import (
    Calendar,
    Count,
    Distinct,
    FeatureSet,
    Last,
    Max,
    Mean,
    Min,
    Missing,
    OneHot,
    Rate,
    Ratio,
    Rolling,
    SinceFirst,
    SinceLast,
    Sum,
    Value,
    Where,
)
from mlops.schema import Column, EventSchema, Label
from mlops.tables import EventTable, Part, day_folder, write_table_meta
from pipelines.hashing import table_fingerprint

__all__ = [
    "FEATURES",
    "LABEL",
    "SCHEMA",
    "Event",
    "arrow_table",
    "histories",
    "write_events",
    "write_labels",
]

SCHEMA = EventSchema(
    id="id",
    time="at",
    columns=(
        Column(name="id", type="id"),
        Column(name="at", type="timestamp"),
        Column(name="card", type="id"),
        Column(name="shop", type="id"),
        Column(name="amount", type="decimal", decimals=2),
        Column(name="items", type="integer"),
        Column(name="kind", type="text"),
        Column(name="online", type="boolean"),
        Column(name="tip", type="decimal", decimals=1, nullable=True),
        Column(name="points", type="integer", nullable=True),
        Column(name="score", type="float", nullable=True),
        Column(name="opened", type="timestamp", nullable=True),
        Column(name="fraud", type="boolean", nullable=True),
    ),
)
LABEL = Label(column="fraud", delay_days=2)
_ONLINE, _GOOD = Where(column="online", equals=True), Where(column="score", minimum=0.25, maximum=0.75)
FEATURES = FeatureSet(
    (
        Value(column="amount"),
        Value(column="tip", fallback=-1.0),
        Missing(column="tip"),
        OneHot(column="kind", values=("a", "é", "b c")),
        OneHot(column="online", values=("true",)),
        Calendar(part="weekend"),
        Calendar(part="night"),
        Calendar(part="hour", timezone="Europe/Brussels"),
        Calendar(part="weekday", timezone="Australia/Lord_Howe"),
        Calendar(part="hour", column="opened", timezone="Australia/Lord_Howe"),
        Calendar(part="day", column="opened"),
        Rolling(key="card", agg=Count(), windows=("1s", "2d")),
        Rolling(key="card", agg=Count(), windows=("2d",), where=_GOOD, prefix="good"),
        Rolling(key="card", agg=Mean(column="amount"), windows=("1s", "1d", "2d")),
        Rolling(key="card", agg=Mean(column="tip"), windows=("2d",), where=_ONLINE, fallback=-5.0),
        Rolling(key="card", agg=Sum(column="items"), windows=("2d",), include_current=False, fallback=-1.0),
        Rolling(key="card", agg=Rate(column="online"), windows=("2d",), include_current=False, fallback=-4.0),
        Rolling(
            key="card", agg=Count(), windows=("1d",), include_current=False, prefix="others", fallback=7.0
        ),
        Rolling(key="card", agg=Min(column="tip"), windows=("1d", "2d"), fallback=-6.0),
        Rolling(key="card", agg=Max(column="amount"), windows=("2d",), include_current=False),
        Rolling(key="card", agg=Max(column="points"), windows=("2d",), where=_ONLINE, fallback=-6.0),
        Rolling(key="card", agg=Distinct(column="shop"), windows=("1s", "1d", "2d")),
        Rolling(key="card", agg=Distinct(column="points"), windows=("2d",), include_current=False),
        Rolling(key="card", agg=SinceFirst(), windows=("2d",)),
        Rolling(key="card", agg=SinceLast(), windows=("2d",), include_current=False, fallback=-7.0),
        Last(key="card", fields=("amount", "points", "at"), n=3, window="2d", fallback=-8.0),
        Last(key="card", fields=("tip",), n=2, include_current=False, where=_ONLINE, prefix="before"),
        Rolling(key="shop", agg=Mean(column="amount"), windows=("1d",), include_current=False, fallback=-2.0),
        Rolling(key="shop", agg=Count(), windows=("1d", "2d"), delay="2d"),
        Rolling(key="shop", agg=Rate(column="fraud"), windows=("1d", "2d"), delay="2d", fallback=-3.0),
        Rolling(
            key="shop",
            agg=SinceLast(),
            windows=("2d",),
            delay="2d",
            where=Where(column="fraud", equals=True),
            prefix="since_fraud",
            fallback=-1.0,
        ),
        Rolling(key="shop", agg=Sum(column="amount"), windows=("1d",), delay="1d", prefix="earlier"),
        Rolling(key="shop", agg=Distinct(column="card"), windows=("1d",), delay="1d", prefix="cards"),
        Rolling(key="shop", agg=Min(column="items"), windows=("2d",), delay="1d", fallback=-9.0),
        Last(key="shop", fields=("fraud",), n=2, delay="2d", fallback=0.5),
        Rolling(key="kind", agg=Count(), windows=("1s",), include_current=False),
        Ratio(name="to_mean", numerator="amount", denominator="card_mean_amount_2d", fallback=9.0),
        Ratio(name="to_shop", numerator="others_1d", denominator="shop_count_2d", fallback=-1.0),
        Ratio(name="to_tip", numerator="amount", denominator="tip_filled"),
    )
)
_CHANGES = (datetime(2024, 3, 30, tzinfo=UTC), datetime(2024, 10, 26, tzinfo=UTC))
_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_STEPS = [timedelta(), *(timedelta(days=d, microseconds=u) for d in (0, 1, 2, 3, 4, 5) for u in (-1, 0, 1))]
_TEXT = ("9", "10", "010", "a", "B", "é", "z", "\U0001f600", "ｚ", "-1")

Event = dict[str, Any]


def histories(number: int, *, text_ids: bool, seed: int = 0) -> list[list[Event]]:
    """Histories of up to 12 events that share no card, shop or kind of shop, unsorted.

    Every third one is on days when clocks change.
    """
    rng = np.random.default_rng(seed)
    made = []
    for history in range(number):
        size = int(rng.integers(1, 13))
        start = (_MONDAY, *_CHANGES)[history % 3]
        events = []
        for number_ in rng.permutation(size):
            place = f"{history:04}"
            id_ = _TEXT[number_ % len(_TEXT)] + f"/{number_ // len(_TEXT)}/{place}"
            at = start + _STEPS[rng.integers(len(_STEPS))] + timedelta(hours=6) * rng.integers(2)
            event = {
                "id": id_ if text_ids else int(number_ - 3) * 10_000 + history,
                "at": at,
                "card": f"c{place}{rng.integers(2)}" if text_ids else 2 * history + int(rng.integers(2)),
                "shop": f"s{place}{rng.integers(2)}" if text_ids else 2 * history + int(rng.integers(2)),
                "amount": round(int(rng.integers(0, 30_000)) * 0.01, 2) if rng.random() < 0.9 else 0.0,
                "items": int(rng.integers(-5, 6)),
                "kind": ("a", "é", f"k{place}")[rng.integers(3)] if number == 1 else f"k{place}",
                "online": bool(rng.integers(2)),
                "tip": [None, 0.0, 0.1, 0.3, -2.5][rng.integers(5)],
                "points": [None, 0, 1, 7][rng.integers(4)],
                "score": [None, 0.25, 0.5, 0.75, 0.76][rng.integers(5)],
                "opened": [None, at, at - timedelta(hours=25)][rng.integers(3)],
                "fraud": [None, True, False][rng.integers(3)],
            }
            events.append(event)
        made.append(events)
    return made


def arrow_table(events: Sequence[Event]) -> pa.Table:
    """Events as a table in canonical columns; what an event lacks is null."""
    id_type = pa.int64() if isinstance(events[0]["id"], int) else pa.string()
    key_type = pa.int64() if isinstance(events[0]["card"], int) else pa.string()
    types = {
        "timestamp": pa.timestamp("us", "UTC"),
        "decimal": pa.float64(),
        "float": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "text": pa.string(),
    }
    types_of_ids = {"id": id_type, "card": key_type, "shop": key_type}
    schema = pa.schema([(c.name, types_of_ids.get(c.name) or types[c.type]) for c in SCHEMA.columns])
    return pa.Table.from_pylist(list(events), schema)


def write_events(folder: Path, events: Sequence[Event], files: int = 2) -> Path:
    """Write an event table, the rows of each day dealt out to files."""
    days: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: event["at"]):
        days.setdefault(event["at"].date().isoformat(), []).append(event)
    for day, rows in days.items():
        day_folder(folder, day).mkdir(parents=True)
        for place in range(files):
            if dealt := rows[place::files]:
                pq.write_table(arrow_table(dealt), day_folder(folder, day) / f"{place}.parquet")
    times = [event["at"] for event in events]
    meta = EventTable(
        rows=len(events),
        whole_number_ids=("id", "card", "shop") if isinstance(events[0]["id"], int) else (),
        first_event=min(times).isoformat(),
        last_event=max(times).isoformat(),
        fingerprint=f"of {folder.name}",
        days={
            day: Part(rows=len(rows), fingerprint=table_fingerprint(arrow_table(rows)))
            for day, rows in days.items()
        },
    )
    write_table_meta(folder, meta)
    return folder


def write_labels(folder: Path, labels: Mapping[int | str, bool]) -> Path:
    """Write a labels table."""
    folder.mkdir(parents=True)
    table = {"id": list(labels), "fraud": list(labels.values()), "known_at": [_MONDAY] * len(labels)}
    pq.write_table(pa.table(table), folder / "labels.parquet")
    return folder
