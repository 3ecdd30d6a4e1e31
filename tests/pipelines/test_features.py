"""Spark's features against the reference, to the last bit."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.errors import InputError
from mlops.features import Calendar, FeatureSet, Ratio, Value
from mlops.schema import EventSchema
from mlops.tables import (
    NO_DAY,
    day_folder,
    read_event_table,
    read_feature_table,
)
from pipelines.features import FeaturesResult, compute_features
from pipelines.hashing import table_fingerprint
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, histories, write_events, write_labels
from tests.reference import reference_features

NAMES = FEATURES.names


def computed(folder: Path, names: tuple[str, ...] = NAMES) -> dict[Any, list[float]]:
    rows = pq.read_table(folder).to_pylist()
    return {row["id"]: [math.nan if row[n] is None else float(row[n]) for n in names] for row in rows}


def compute(spark: SparkSession, events: list[Path], target: Path, **more: Any) -> FeaturesResult:
    return compute_features(spark, events, target, FEATURES, SCHEMA, LABEL, **more)


@pytest.mark.parametrize("text_ids", [False, True], ids=["whole numbers", "text"])
def test_every_value_is_the_reference_s(spark: SparkSession, tmp_path: Path, text_ids: bool) -> None:
    made = histories(300, text_ids=text_ids)
    events = [event for history in made for event in history]
    labels = {event["id"]: n % 3 == 0 for n, event in enumerate(events) if n % 2}
    expected: dict[Any, list[float]] = {}
    for history in made:
        expected |= reference_features(history, labels, FEATURES, SCHEMA, LABEL)

    result = compute(
        spark,
        [write_events(tmp_path / "events", events)],
        tmp_path / "features",
        labels=write_labels(tmp_path / "labels", labels),
    )
    values = computed(tmp_path / "features")
    assert values.keys() == expected.keys()
    wrong = {
        (id_, name): (found, wanted)
        for id_ in expected
        for name, found, wanted in zip(NAMES, values[id_], expected[id_], strict=True)
        if found != wanted
    }
    assert not wrong
    unlabelled = sum(labels.get(event["id"], event["fraud"]) is None for event in events)
    assert (result.rows, result.unlabelled) == (len(events), unlabelled)


def test_the_table_holds_the_event_s_columns_then_the_features(spark: SparkSession, tmp_path: Path) -> None:
    compute(
        spark, [write_events(tmp_path / "events", histories(1, text_ids=False)[0])], tmp_path / "features"
    )
    names = [column.name for column in SCHEMA.columns] + [name for name in NAMES if name != "amount"]
    assert pq.read_table(tmp_path / "features").column_names == [*names, "day"]
    table = read_feature_table(tmp_path / "features")
    assert table.features == FEATURES
    assert table.events == (read_event_table(tmp_path / "events").fingerprint,)
    assert table.whole_number_ids == ("id", "card", "shop")


def test_a_day_is_a_folder_of_files_in_the_order_of_time_and_id(spark: SparkSession, tmp_path: Path) -> None:
    events = [event for history in histories(40, text_ids=True, seed=4) for event in history]
    compute(spark, [write_events(tmp_path / "events", events)], tmp_path / "features")
    days = read_feature_table(tmp_path / "features").days
    by_day = Counter(event["at"].date().isoformat() for event in events)
    assert {day: part.rows for day, part in days.items()} == dict(sorted(by_day.items()))
    for day, part in days.items():
        (file,) = day_folder(tmp_path / "features", day).iterdir()
        table = pq.ParquetFile(file).read()
        order = [(row["at"], row["id"].encode()) for row in table.to_pylist()]
        assert order == sorted(order)
        assert {at.date().isoformat() for at, _ in order} == {day}
        assert table_fingerprint(table) == part.fingerprint


def test_how_many_tasks_there_are_changes_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [event for history in histories(30, text_ids=False, seed=5) for event in history]
    events = [event | {"at": event["at"].replace(day=1)} for event in made]  # few days of many events
    table = write_events(tmp_path / "events", events, files=7)
    labels = write_labels(tmp_path / "labels", {event["id"]: True for event in events[::3]})
    compute(spark, [table], tmp_path / "few", labels=labels)
    monkeypatch.setattr("pipelines.features.TASK_ROWS", 60)
    compute(spark, [table], tmp_path / "many", labels=labels)
    few, many = read_feature_table(tmp_path / "few"), read_feature_table(tmp_path / "many")
    assert (few.days, few.fingerprint, few.unlabelled) == (many.days, many.fingerprint, many.unlabelled)
    assert len(list((tmp_path / "many").rglob("*.parquet"))) > len(few.days)  # a large day is several files
    assert computed(tmp_path / "few") == computed(tmp_path / "many")


def test_events_without_a_time_are_one_part(spark: SparkSession, tmp_path: Path) -> None:
    events = histories(1, text_ids=True, seed=3)[0]
    schema = EventSchema(id="id", columns=tuple(c for c in SCHEMA.columns if c.name != "at"))
    features = FeatureSet((Value(column="amount"), Value(column="tip", fallback=-1.0)))
    table = write_events(tmp_path / "events", events)
    result = compute_features(spark, [table], tmp_path / "features", features, schema, LABEL)
    assert read_feature_table(tmp_path / "features").days.keys() == {NO_DAY}
    assert result.rows == len(events)
    expected = reference_features(events, {}, features, SCHEMA, LABEL)
    assert computed(tmp_path / "features", features.names) == expected


def test_no_event_from_then_on_is_a_table_without_rows(spark: SparkSession, tmp_path: Path) -> None:
    table = write_events(tmp_path / "events", histories(1, text_ids=False)[0])
    result = compute(spark, [table], tmp_path / "features", since=datetime(2025, 1, 1))
    assert result.rows == 0
    assert set(NAMES) < set(pq.read_table(tmp_path / "features").column_names)


def test_a_damaged_file_of_events_is_named(spark: SparkSession, tmp_path: Path) -> None:
    events = [event for history in histories(30, text_ids=True) for event in history]
    table = write_events(tmp_path / "events", events)
    path = sorted(table.rglob("*.parquet"))[1]
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(500) + content[504:])
    with pytest.raises(InputError, match=f"{path}: is damaged: it cannot be read to its end$"):
        compute(spark, [table], tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_since_limits_what_is_written_and_not_the_history(spark: SparkSession, tmp_path: Path) -> None:
    events = [event for history in histories(40, text_ids=False, seed=1) for event in history]
    table = write_events(tmp_path / "events", events)
    compute(spark, [table], tmp_path / "all")
    since = datetime(2024, 1, 5)
    result = compute(spark, [table], tmp_path / "late", since=since)
    late = {event["id"] for event in events if event["at"] >= since.replace(tzinfo=UTC)}
    everything = computed(tmp_path / "all")
    assert 0 < result.rows == len(late) < len(events)
    assert computed(tmp_path / "late") == {id_: everything[id_] for id_ in late}


def test_other_files_in_another_order_give_the_same_fingerprint(spark: SparkSession, tmp_path: Path) -> None:
    events = [event for history in histories(40, text_ids=False, seed=2) for event in history]
    compute(spark, [write_events(tmp_path / "one", events, files=1)], tmp_path / "a")
    halves = [write_events(tmp_path / "b1", events[::-2], 3), write_events(tmp_path / "b2", events[-2::-2])]
    compute(spark, halves, tmp_path / "b")
    one, two = read_feature_table(tmp_path / "a"), read_feature_table(tmp_path / "b")
    assert one.fingerprint == two.fingerprint
    assert (one.events, two.events) == (("of one",), ("of b1", "of b2"))
    compute(spark, halves, tmp_path / "b", labels=write_labels(tmp_path / "l", {events[0]["id"]: True}))
    assert read_feature_table(tmp_path / "b").fingerprint != one.fingerprint


def test_ids_that_are_text_in_one_table_are_text_in_all(spark: SparkSession, tmp_path: Path) -> None:
    numbers, text = histories(1, text_ids=False)[0], histories(1, text_ids=True)[0]
    tables = [write_events(tmp_path / "numbers", numbers), write_events(tmp_path / "text", text)]
    labels = write_labels(tmp_path / "labels", {numbers[0]["id"]: True})
    compute(spark, tables, tmp_path / "features", labels=labels)
    assert computed(tmp_path / "features").keys() == {str(event["id"]) for event in numbers + text}
    assert read_feature_table(tmp_path / "features").whole_number_ids == ()


def test_features_without_windows_need_no_key(spark: SparkSession, tmp_path: Path) -> None:
    events = histories(3, text_ids=True)[2]
    features = FeatureSet(
        (
            Value(column="amount"),
            Value(column="items"),
            Calendar(part="weekend"),
            Ratio(name="each", numerator="amount", denominator="items"),
        )
    )
    compute_features(
        spark, [write_events(tmp_path / "e", events)], tmp_path / "features", features, SCHEMA, LABEL
    )
    assert computed(tmp_path / "features", features.names) == reference_features(
        events, {}, features, SCHEMA, LABEL
    )
