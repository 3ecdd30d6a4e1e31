"""A backfilled store answers like one that was sent every event."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.bundle import Schema
from mlops.errors import ConfigError, InputError
from pipelines.backfill import backfill
from serving.entries import EntryEncoder
from serving.events import EventReader
from serving.features import OnlineFeatures
from serving.forgetting import delete_key, forget
from serving.lmdb_store import LmdbStore
from serving.plan import StorePlan
from tests.reference import reference_features
from tests.serving.example import EVENTS, FEATURES, FEWER, LABEL, NUMBERS, TEXTS

START = datetime(2024, 3, 1, tzinfo=UTC)


def history(size: int = 300) -> list[dict[str, Any]]:
    return [
        {
            "payment": (n * 7919) % 100_003,
            "at": START + timedelta(hours=(n * 37) % 500),
            "card": n % 7,
            "shop": n % 11,
            "amount": (n * 331 % 10_000) / 100,
            "items": None if n % 5 == 0 else n % 4,
            "abroad": None if n % 6 == 0 else n % 3 == 0,
            "note": None,
            "fraud": None if n % 4 == 0 else n % 9 == 0,
        }
        for n in range(size)
    ]


def write(folder: Path, rows: list[dict[str, Any]], id_type: pa.DataType | None = None) -> Path:
    folder.mkdir()
    id_type = id_type or pa.int64()
    schema = pa.schema(
        {
            "payment": id_type,
            "at": pa.timestamp("us", "UTC"),
            "card": id_type,
            "shop": id_type,
            "amount": pa.float64(),
            "items": pa.int64(),
            "abroad": pa.bool_(),
            "note": pa.string(),
            "fraud": pa.bool_(),
        }
    )
    for part in range(3):
        pq.write_table(pa.Table.from_pylist(rows[part::3], schema), folder / f"part-{part}.parquet")
    return folder


def values(store: Path, schema: Schema, rows: list[dict[str, Any]]) -> dict[Any, list[float]]:
    opened = LmdbStore(store, StorePlan.of(FEATURES, schema), schema)
    reader, encode = EventReader(schema), EntryEncoder(opened.plan)
    online = OnlineFeatures(FEATURES, schema, opened.plan)
    found = {}
    with opened.begin() as transaction:
        for row in rows:
            raw = {k: v for k, v in row.items() if k != "fraud"} | {"at": row["at"].isoformat()}
            event = reader.event(raw)
            found[event.id] = online.compute(
                transaction, event, encode(event.id, event.time_us, event.values)
            )
    opened.close()
    return found


def test_values_are_the_reference_s_and_running_it_twice_changes_nothing(tmp_path: Path) -> None:
    rows = history()
    late = {row["payment"]: True for row in rows[::10]}
    labels = tmp_path / "labels"
    labels.mkdir()
    known = pa.array([START] * len(late), pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"payment": list(late), "fraud": list(late.values()), "known_at": known}),
        labels / "part.parquet",
    )
    tables = [write(tmp_path / "old", rows[:100]), write(tmp_path / "new", rows[100:])]
    first = backfill(tables, tmp_path / "store", FEATURES, NUMBERS, labels)
    again = backfill(tables[1:], tmp_path / "store", FEATURES, NUMBERS)
    assert (first.rows, first.new, first.labels) == (300, 300, 30)
    assert (again.rows, again.new, again.labels) == (200, 0, 0)
    backfill([], tmp_path / "store", FEATURES, NUMBERS, labels)
    expected = reference_features(rows, late, FEATURES, EVENTS, LABEL)
    assert values(tmp_path / "store", NUMBERS, rows) == expected


def test_what_was_forgotten_and_whom_was_deleted_is_passed_over(tmp_path: Path) -> None:
    rows = history(200)
    table, folder = write(tmp_path / "events", rows), tmp_path / "store"
    backfill([table], folder, FEATURES, NUMBERS)
    plan = StorePlan.of(FEATURES, NUMBERS)
    cut = START + timedelta(hours=100)
    with closing(LmdbStore(folder, plan, NUMBERS)) as store:
        forget(store, int(cut.timestamp() * 1e6))
        deleted = delete_key(store, "card", 3).events
        left = store.count("events")
    old = sum(row["at"] < cut for row in rows)
    mine = sum(row["at"] >= cut and row["card"] == 3 for row in rows)
    assert (deleted, left) == (mine, len(rows) - old - mine)
    again = backfill([table], folder, FEATURES, NUMBERS)
    assert (again.rows, again.new) == (len(rows), 0)
    assert again.passed_over == len(rows) - left
    others = [row for row in rows if row["card"] != 3]
    late = [row for row in others if row["at"] - timedelta(days=14) >= cut]
    expected = reference_features(others, {}, FEATURES, EVENTS, LABEL)
    found = values(folder, NUMBERS, late)
    by_card = [place for place, name in enumerate(FEATURES.names) if not name.startswith("shop")]
    assert late
    for row in late:
        wanted, served = expected[row["payment"]], found[row["payment"]]
        assert [served[place] for place in by_card] == [wanted[place] for place in by_card]


def test_text_ids_of_any_kind_are_kept_apart(tmp_path: Path) -> None:
    rows = [
        row | {key: "".join(chr(97 + int(d)) for d in str(row[key])) for key in ("payment", "card", "shop")}
        for row in history(120)
    ]
    backfill([write(tmp_path / "events", rows, pa.string())], tmp_path / "store", FEATURES, TEXTS)
    assert values(tmp_path / "store", TEXTS, rows) == reference_features(rows, {}, FEATURES, EVENTS, LABEL)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    table = write(tmp_path / "events", history(20))
    store = tmp_path / "store"
    with pytest.raises(InputError, match="no such table"):
        backfill([tmp_path / "nothing"], store, FEATURES, NUMBERS)
    with pytest.raises(InputError, match="payment: ids are int64"):
        backfill([table], store, FEATURES, TEXTS)
    with pytest.raises(InputError, match="no column"):
        backfill([table], store, FEATURES, NUMBERS, labels=_one_column(tmp_path / "labels"))
    long = write(
        tmp_path / "long",
        [row | {"payment": "x" * 300, "card": "", "shop": ""} for row in history(1)],
        pa.string(),
    )
    with pytest.raises(InputError, match="payment: an id is longer than"):
        backfill([long], tmp_path / "texts", FEATURES, TEXTS)
    backfill([table], tmp_path / "fewer", FEWER, NUMBERS)
    with pytest.raises(ConfigError, match="the store lacks"):
        backfill([table], tmp_path / "fewer", FEATURES, NUMBERS)


def _one_column(folder: Path) -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"payment": [1]}), folder / "part.parquet")
    return folder
