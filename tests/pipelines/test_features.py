"""Spark's features against the reference, to the last bit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.features import Calendar, FeatureSet, Ratio, Value
from mlops.tables import read_event_table, read_feature_table
from pipelines.features import FeaturesResult, compute_features
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
