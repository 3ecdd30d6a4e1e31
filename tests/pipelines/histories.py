"""Small histories made to go wrong: ties, borders hit to the microsecond, ids that sort differently as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.features import Calendar, Count, FeatureSet, Mean, Rate, Ratio, Rolling, Sum, Value
from mlops.schema import Column, EventSchema, Label
from mlops.tables import EventTable, write_table_meta

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
        Column(name="fraud", type="boolean", nullable=True),
    ),
)
LABEL = Label(column="fraud", delay_days=2)
FEATURES = FeatureSet(
    (
        Value(column="amount"),
        Calendar(part="weekend"),
        Calendar(part="night"),
        Rolling(key="card", agg=Count(), windows=("1s", "2d")),
        Rolling(key="card", agg=Mean(column="amount"), windows=("1s", "1d", "2d")),
        Rolling(key="card", agg=Sum(column="items"), windows=("2d",), include_current=False, fallback=-1.0),
        Rolling(key="card", agg=Rate(column="items"), windows=("2d",), include_current=False, fallback=-4.0),
        Rolling(
            key="card", agg=Count(), windows=("1d",), include_current=False, prefix="others", fallback=7.0
        ),
        Rolling(key="shop", agg=Mean(column="amount"), windows=("1d",), include_current=False, fallback=-2.0),
        Rolling(key="shop", agg=Count(), windows=("1d", "2d"), delay="2d"),
        Rolling(key="shop", agg=Rate(column="fraud"), windows=("1d", "2d"), delay="2d", fallback=-3.0),
        Rolling(key="shop", agg=Sum(column="amount"), windows=("1d",), delay="1d", prefix="earlier"),
        Ratio(name="to_mean", numerator="amount", denominator="card_mean_amount_2d", fallback=9.0),
        Ratio(name="to_shop", numerator="others_1d", denominator="shop_count_2d", fallback=-1.0),
    )
)
_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
_STEPS = [timedelta(), *(timedelta(days=d, microseconds=u) for d in (0, 1, 2, 3, 4, 5) for u in (-1, 0, 1))]
_TEXT = ("9", "10", "010", "a", "B", "é", "z", "\U0001f600", "ｚ", "-1")

Event = dict[str, Any]


def histories(number: int, *, text_ids: bool, seed: int = 0) -> list[list[Event]]:
    """Histories of up to 12 events that share no card and no shop, unsorted."""
    rng = np.random.default_rng(seed)
    made = []
    for history in range(number):
        size = int(rng.integers(1, 13))
        events = []
        for number_ in rng.permutation(size):
            place = f"{history:04}"
            id_ = _TEXT[number_ % len(_TEXT)] + f"/{number_ // len(_TEXT)}/{place}"
            events.append(
                {
                    "id": id_ if text_ids else int(number_ - 3) * 10_000 + history,
                    "at": _MONDAY + _STEPS[rng.integers(len(_STEPS))] + timedelta(hours=6) * rng.integers(2),
                    "card": f"c{place}{rng.integers(2)}" if text_ids else 2 * history + int(rng.integers(2)),
                    "shop": f"s{place}{rng.integers(2)}" if text_ids else 2 * history + int(rng.integers(2)),
                    "amount": round(int(rng.integers(0, 30_000)) * 0.01, 2) if rng.random() < 0.9 else 0.0,
                    "items": int(rng.integers(-5, 6)),
                    "fraud": [None, True, False][rng.integers(3)],
                }
            )
        made.append(events)
    return made


def write_events(folder: Path, events: Sequence[Event], files: int = 2) -> Path:
    """Write an event table, its rows dealt out to files."""
    ids = pa.int64() if isinstance(events[0]["id"], int) else pa.string()
    types = {
        "at": pa.timestamp("us", "UTC"),
        "amount": pa.float64(),
        "items": pa.int64(),
        "fraud": pa.bool_(),
    }
    schema = pa.schema([(c.name, types.get(c.name, ids)) for c in SCHEMA.columns])
    folder.mkdir(parents=True)
    for place in range(files):
        pq.write_table(pa.Table.from_pylist(list(events[place::files]), schema), folder / f"{place}.parquet")
    times = [event["at"] for event in events]
    meta = EventTable(
        rows=len(events),
        whole_number_ids=("id", "card", "shop") if ids == pa.int64() else (),
        first_event=min(times).isoformat(),
        last_event=max(times).isoformat(),
        fingerprint=f"of {folder.name}",
    )
    write_table_meta(folder, meta)
    return folder


def write_labels(folder: Path, labels: Mapping[int | str, bool]) -> Path:
    """Write a labels table."""
    folder.mkdir(parents=True)
    table = {"id": list(labels), "fraud": list(labels.values()), "known_at": [_MONDAY] * len(labels)}
    pq.write_table(pa.table(table), folder / "labels.parquet")
    return folder
