"""A feature table that is kept up to date is the one that would be computed from everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from pyspark.sql import SparkSession

from mlops.features import Count, FeatureSet, Rolling, Value
from mlops.schema import Column
from mlops.tables import day_folder, read_feature_table
from pipelines.features import compute_features
from pipelines.incremental import can_update, touched_days, update_features
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, Event, histories, write_events

LATE = datetime(2024, 1, 2, 12, tzinfo=UTC)
Change = Callable[[list[Event]], list[Event]]


def history() -> list[Event]:
    events = [event for one in histories(60, text_ids=False, seed=5) for event in one]
    return sorted((e for e in events if e["at"].month == 1), key=lambda e: (e["at"], e["id"]))


def files(table: Path) -> dict[str, int]:
    """The inode of each file."""
    return {str(path.relative_to(table)): path.stat().st_ino for path in table.rglob("*.parquet")}


def without_last_day(events: list[Event]) -> list[Event]:
    return [e for e in events if e["at"].date() < events[-1]["at"].date()]


def without_an_early_event(events: list[Event]) -> list[Event]:
    return events[1:]


def without_a_label(events: list[Event]) -> list[Event]:
    labelled = next(n for n, event in enumerate(events) if event["fraud"])
    return [{**event, "fraud": None} if n == labelled else event for n, event in enumerate(events)]


def with_a_day_more(events: list[Event]) -> list[Event]:
    last = events[-1]
    return [*events, {**last, "id": last["id"] + 1_000_000, "at": last["at"] + timedelta(days=30)}]


def of_other_events(events: list[Event]) -> list[Event]:
    return [{**event, "id": event["id"] + 1_000_000, "amount": 1.0} for event in events]


@pytest.mark.parametrize(
    "before",
    [without_last_day, without_an_early_event, without_a_label, with_a_day_more, of_other_events],
    ids=lambda f: f.__name__,
)
def test_it_equals_the_recomputed_table(spark: SparkSession, tmp_path: Path, before: Change) -> None:
    events, target = history(), tmp_path / "features"
    old = write_events(tmp_path / "old", before(events))
    new = write_events(tmp_path / "new", events)
    compute_features(spark, [old], target, FEATURES, SCHEMA, LABEL)
    held, linked = read_feature_table(target), files(target)

    result = update_features(new, target, FEATURES, SCHEMA, LABEL)

    compute_features(spark, [new], tmp_path / "all", FEATURES, SCHEMA, LABEL)
    everything, updated = read_feature_table(tmp_path / "all"), read_feature_table(target)
    assert updated == everything
    assert result.rows_written == sum(updated.days[day].rows for day in result.days)
    for name, inode in files(target).items():
        assert (inode == linked.get(name)) == (name.split("/")[0].removeprefix("day=") not in result.days)
    assert updated != held


def test_a_new_day_changes_nothing_that_was_there_and_a_late_event_does(
    spark: SparkSession, tmp_path: Path
) -> None:
    events, target = history(), tmp_path / "features"
    old = write_events(tmp_path / "old", without_last_day(events)[1:])
    compute_features(spark, [old], target, FEATURES, SCHEMA, LABEL)

    a_day_more = write_events(tmp_path / "more", events[1:])
    first = update_features(a_day_more, target, FEATURES, SCHEMA, LABEL)
    assert (first.days, first.changed) == ((events[-1]["at"].date().isoformat(),), 0)

    nothing = update_features(a_day_more, target, FEATURES, SCHEMA, LABEL)
    assert (nothing.days, nothing.rows_read, nothing.rows_written) == ((), 0, 0)

    late = update_features(write_events(tmp_path / "late", events), target, FEATURES, SCHEMA, LABEL)
    assert late.days[0] == events[0]["at"].date().isoformat()
    assert 0 < late.changed < late.rows_written


def test_other_definitions_types_or_ids_need_a_computation_from_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    events = history()
    table, target = write_events(tmp_path / "events", events), tmp_path / "features"
    assert not can_update(table, target, FEATURES, SCHEMA)
    compute_features(spark, [table], target, FEATURES, SCHEMA, LABEL)
    assert can_update(table, target, FEATURES, SCHEMA)
    assert not can_update(table, target, FeatureSet((Value(column="amount"),)), SCHEMA)
    cents = replace(
        SCHEMA, columns=tuple(replace(c, decimals=3) if c.decimals else c for c in SCHEMA.columns)
    )
    assert not can_update(table, target, FEATURES, cents)
    wider = replace(SCHEMA, columns=(*SCHEMA.columns, Column(name="device", type="text", nullable=True)))
    assert not can_update(table, target, FEATURES, wider)
    text = write_events(tmp_path / "text", histories(1, text_ids=True)[0])
    assert not can_update(text, target, FEATURES, SCHEMA)
    compute_features(spark, [table], target, FEATURES, SCHEMA, LABEL, since=LATE)
    assert not can_update(table, target, FEATURES, SCHEMA)


def of(*days: Sequence[str]) -> dict[str, str]:
    return {f"2024-01-{day}": fingerprint for day, fingerprint in days}


FOUR_DAYS = of(("01", "a"), ("02", "b"), ("03", "c"), ("04", "d"))


@pytest.mark.parametrize(
    ("old", "new", "touched"),
    [
        (of(("01", "a")), of(("01", "a")), ""),
        (of(("01", "a")), of(("01", "a"), ("02", "b")), "02"),
        (
            of(("01", "a"), ("02", "b"), ("03", "c"), ("04", "d")),
            of(("01", "x"), ("02", "b"), ("03", "c"), ("04", "d")),
            "01 02 03",
        ),
        (of(("01", "a"), ("02", "b")), of(("02", "b")), "02"),
        (of(("01", "a"), ("09", "b")), of(("01", "x"), ("09", "b")), "01"),
    ],
)
def test_a_day_is_touched_as_far_as_windows_reach(
    old: dict[str, str], new: dict[str, str], touched: str
) -> None:
    features = FeatureSet((Rolling(key="card", agg=Count(), windows=("1d",), delay="1d"),))
    assert [day[-2:] for day in touched_days(old, new, features.horizon_us)] == touched.split()


def test_the_files_of_a_day_are_named_for_their_content(spark: SparkSession, tmp_path: Path) -> None:
    """So that to compute a day twice changes nothing, and a reader of the old table never finds half a new one."""
    table, target = write_events(tmp_path / "events", history()), tmp_path / "features"
    compute_features(spark, [table], target, FEATURES, SCHEMA, LABEL)
    names = set(files(target))
    held = read_feature_table(target)
    day = next(iter(held.days))
    forgotten = replace(held, sources={**held.sources, day: "another"})
    (target / "_table.json").write_bytes(msgspec.json.encode(forgotten))

    assert day in update_features(table, target, FEATURES, SCHEMA, LABEL).days

    assert set(files(target)) == names
    assert read_feature_table(target) == held
    assert day_folder(target, day).is_dir()
