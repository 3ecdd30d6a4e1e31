"""How the simulated events arrive: as files of a day each, with blank and wrong labels, damaged rows, late events.

Any files can be written alone: all that one needs of the days before is how many events they have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from usecases.fraud.payments import DAY_SECONDS, payments
from usecases.fraud.population import REGIONS, populate
from usecases.fraud.world import Ints, Process, World

__all__ = ["DAY_FILE", "SCHEMA", "Tally", "deliver", "events_of"]

Key = TypeVar("Key", int, str)

DAY_FILE = re.compile(r"\d{4}-\d\d-\d\d\.(parquet|csv)")
SCHEMA = pa.schema(
    {
        "TRANSACTION_ID": pa.int64(),
        "TX_DATETIME": pa.timestamp("us"),
        "CUSTOMER_ID": pa.int64(),
        "TERMINAL_ID": pa.int64(),
        "TX_AMOUNT": pa.float64(),
        "TX_TIME_SECONDS": pa.int64(),
        "TX_TIME_DAYS": pa.int64(),
        "TX_FRAUD": pa.int64(),
        "TX_FRAUD_SCENARIO": pa.int64(),
        "TERMINAL_REGION": pa.string(),  # the published layout ends before it
    }
)

_DAMAGED_IDS = 10**12  # far above every good row's number, so that good rows keep theirs whatever is damaged
_LONG_AGO = datetime(1900, 1, 1)

# Of a kind of defect: the column, and what becomes of its values.
_Damage = tuple[str, Callable[[pa.ChunkedArray], pa.Array]]
_VALUES: dict[str, _Damage] = {
    "missing_amount": ("TX_AMOUNT", lambda values: pa.nulls(len(values), values.type)),
    "negative_amount": ("TX_AMOUNT", lambda values: pc.negate(pc.max_element_wise(values, 0.01))),
    "missing_customer": ("CUSTOMER_ID", lambda values: pa.nulls(len(values), values.type)),
    "missing_time": ("TX_DATETIME", lambda values: pa.nulls(len(values), values.type)),
    "time_out_of_range": ("TX_DATETIME", lambda values: pa.repeat(_LONG_AGO, len(values))),
}
_TEXTS: dict[str, _Damage] = {
    "malformed_amount": ("TX_AMOUNT", lambda texts: pc.binary_join_element_wise("EUR", texts, " ")),
    "malformed_time": ("TX_DATETIME", lambda texts: pc.replace_substring(texts, ":", "h")),
    "malformed_label": ("TX_FRAUD", lambda texts: pa.repeat("maybe", len(texts))),
}


class Tally(msgspec.Struct, frozen=True):
    """What was counted over events, by scenario, and over damaged rows, by kind."""

    scenarios: dict[int, int] = {}
    defects: dict[str, int] = {}
    late: int = 0
    unlabelled: int = 0
    mislabelled: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            scenarios=_added(self.scenarios, other.scenarios),
            defects=_added(self.defects, other.defects),
            late=self.late + other.late,
            unlabelled=self.unlabelled + other.unlabelled,
            mislabelled=self.mislabelled + other.mislabelled,
        )


def _added(one: dict[Key, int], other: dict[Key, int]) -> dict[Key, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}


def events_of(world: World, day: int, first_id: int) -> pa.Table:
    """The events of a day as `SCHEMA`, in order of time, their ids counting from `first_id`."""
    population = populate(world)
    rows = payments(world, population, day)
    second = day * DAY_SECONDS + rows.second
    fraud = rows.scenario > 0
    if world.label_noise:
        fraud ^= world.stream(Process.LABEL_NOISE, day).random(len(rows)) < world.label_noise
    unknown = np.full(len(rows), day >= world.days - world.unlabelled_days)
    columns = (
        pa.array(first_id + np.arange(len(rows))),
        pa.array(np.datetime64(world.start, "us") + second.astype("timedelta64[s]")),
        pa.array(rows.customer),
        pa.array(rows.terminal),
        pa.array(rows.amount),
        pa.array(second),
        pa.array(np.full(len(rows), day)),
        pa.array(fraud.astype(np.int64), mask=unknown),
        pa.array(rows.scenario),
        pa.DictionaryArray.from_arrays(population.region[rows.terminal], REGIONS).cast(pa.string()),
    )
    return pa.table(columns, schema=SCHEMA)


def deliver(world: World, starts: Sequence[int], folder: Path, files: range) -> Tally:
    """Write the files of some days, which hold the same whoever writes the others, and count these days' events.

    Args:
        starts: of each day, the number of events before it.
        files: consecutive days of delivery.
    """
    tally = Tally()
    waiting: dict[int, list[pa.Table]] = {file: [] for file in files}
    for day in range(max(0, files.start - (world.file_count - world.days)), files.stop):
        if day < world.days:
            rows, arrival, counted = _sent(world, day, starts[day])
            for file in (day, *np.unique(arrival[arrival > day]).tolist()):
                if file in waiting:
                    waiting[file].append(rows.filter(pa.array(arrival == file)))
            if day in files:
                tally += counted
        if day in files:
            _write(world, day, waiting.pop(day), folder)
    return tally


def _sent(world: World, day: int, first_id: int) -> tuple[pa.Table, Ints, Tally]:
    """The rows of a day's events, damaged ones among them; the day of each one's delivery; what there is of each."""
    rows = events_of(world, day, first_id)
    size = rows.num_rows
    arrival = np.full(size, day)
    if world.late_events:
        rng = world.stream(Process.LATE_EVENTS, day)
        late = rng.random(size) < world.late_events
        arrival += np.where(late, rng.integers(1, world.late_days, size, endpoint=True), 0)
    scenario, label = rows["TX_FRAUD_SCENARIO"].to_numpy(), rows["TX_FRAUD"]
    known = label.is_valid().to_numpy()
    counted = Tally(
        scenarios=dict(enumerate(np.bincount(scenario).tolist())),
        late=int((arrival > day).sum()),
        unlabelled=label.null_count,
        mislabelled=int((label.fill_null(0).to_numpy() != (scenario > 0))[known].sum()),
    )
    if world.file_format == "csv":
        # Times to the second, as they are.
        rows = rows.set_column(1, "TX_DATETIME", rows["TX_DATETIME"].cast(pa.timestamp("s")))
    if world.damaged(day):
        # From running totals: the share is met over the whole world, however few events a day has.
        number = np.arange(int(world.defects * first_id), int(world.defects * (first_id + size)))
        copied = world.stream(Process.DEFECTS, day).choice(size, len(number), replace=False)
        kinds = np.array(world.defect_kinds)[number % len(world.defect_kinds)]
        beside = np.argsort(np.concatenate([np.arange(size), copied]), kind="stable")
        copies = _damaged(rows.take(pa.array(copied)), number, kinds)
        rows = pa.concat_tables([rows.cast(copies.schema), copies]).take(pa.array(beside))
        arrival = np.concatenate([arrival, arrival[copied]])[beside]
        counted += Tally(defects=Counter(kinds.tolist()))
    return rows, arrival, counted


def _damaged(rows: pa.Table, number: Ints, kinds: np.ndarray) -> pa.Table:
    """Copies of events, damaged each in its way; but for exact duplicates they have ids of their own."""
    ids = np.where(kinds == "duplicate", rows["TRANSACTION_ID"].to_numpy(), _DAMAGED_IDS + number)
    rows = rows.set_column(0, "TRANSACTION_ID", pa.array(ids))
    for kind in sorted(set(kinds.tolist()) & set(_VALUES)):
        rows = _replaced(rows, kinds == kind, *_VALUES[kind])
    for kind in sorted(set(kinds.tolist()) & set(_TEXTS)):
        name = _TEXTS[kind][0]
        texts = rows[name].cast(pa.string())
        rows = rows.set_column(rows.schema.get_field_index(name), name, texts)
        rows = _replaced(rows, kinds == kind, *_TEXTS[kind])
    return rows


def _replaced(
    rows: pa.Table, mask: np.ndarray, name: str, values: Callable[[pa.Array], pa.Array]
) -> pa.Table:
    there = rows[name].combine_chunks()
    new = pc.if_else(pa.array(mask), values(there).cast(there.type), there)
    return rows.set_column(rows.schema.get_field_index(name), name, new)


def _write(world: World, day: int, parts: list[pa.Table], folder: Path) -> None:
    if not parts:  # after the last day, when nothing was late
        return
    path = folder / f"{world.date_of(day)}.{world.file_format}"
    if world.file_format == "parquet":
        pq.write_table(pa.concat_tables(parts).combine_chunks(), path)
    else:
        texts = pa.schema([(name, pa.string()) for name in SCHEMA.names])
        rows = pa.concat_tables(part.cast(texts) for part in parts)
        pyarrow.csv.write_csv(rows, path, pyarrow.csv.WriteOptions(quoting_style="none"))
