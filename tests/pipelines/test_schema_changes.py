"""What a change of the schema does to the history that is there, and to features over old and new events.

The table in docs/schema-changes.md says the same in words.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.errors import ConfigError, InputError
from mlops.features import Count, FeatureSet, Mean, Missing, OneHot, Rolling, Value
from mlops.schema import Column, EventSchema, Label
from mlops.tables import read_event_table
from pipelines.features import compute_features
from pipelines.validate import validate

ID, AT, CARD = (
    Column(name="id", type="id"),
    Column(name="at", type="timestamp"),
    Column(name="card", type="id"),
)
AMOUNT = Column(name="amount", type="decimal", decimals=2)
ITEMS = Column(name="items", type="integer")
FRAUD = Column(name="fraud", type="boolean", nullable=True)
LABEL = Label(column="fraud", delay_days=1)
START = datetime(2024, 3, 1, 12)
BEFORE = (ID, AT, CARD, AMOUNT, ITEMS, FRAUD)


def schema(*columns: Column) -> EventSchema:
    return EventSchema(id="id", time="at", columns=columns)


def replaced(name: str, **fields: Any) -> tuple[Column, ...]:
    """The columns before, one of them changed."""
    return tuple(msgspec.structs.replace(c, **fields) if c.name == name else c for c in BEFORE)


def events(numbers: range, day: int, **columns: Any) -> list[dict[str, Any]]:
    """An event a minute; a value of `columns` that is None removes the column."""
    rows = [
        {
            "id": n,
            "at": START + timedelta(days=day, minutes=n),
            "card": n % 2,
            "amount": n + 0.25,
            "items": n,
            "fraud": False,
        }
        | columns
        for n in numbers
    ]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


class Home:
    """A home whose table holds six events of the schema before."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.deliver(schema(*BEFORE), events(range(6), day=0))

    def deliver(self, declared: EventSchema, rows: list[dict[str, Any]]) -> None:
        source = self.folder / "in.parquet"
        source.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), source)
        where = self.folder / "events", self.folder / "quarantine"
        validate(self.spark, source, *where, declared, LABEL, merge=True)

    def table(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "events", partitioning=None).sort_by("at").to_pylist()

    def types(self) -> set[pa.Schema]:
        """The columns of each file, which must be alike."""
        return {
            tuple((f.name, str(f.type)) for f in pq.read_schema(p))
            for p in (self.folder / "events").rglob("*.parquet")
        }

    def features(self, declared: EventSchema, *features: Any) -> list[dict[str, Any]]:
        """Of all events, in their order."""
        out = self.folder / "features"
        compute_features(self.spark, [self.folder / "events"], out, FeatureSet(features), declared, LABEL)
        return pq.read_table(out, partitioning=None).sort_by("at").to_pylist()


@pytest.fixture
def home(spark: SparkSession, tmp_path: Path) -> Home:
    return Home(spark, tmp_path / "home")


SUMS = Rolling(key="card", agg=Mean(column="amount"), windows=("30d",))


def test_an_added_optional_column_is_null_in_the_history(home: Home) -> None:
    device = Column(name="device", type="text", nullable=True, optional=True, values=("app", "web"))
    now = schema(*BEFORE, device)
    rows = home.features(now, SUMS, Missing(column="device"), OneHot(column="device", values=("app",)))
    assert {row["device_is_missing"] for row in rows} == {1.0}  # nothing was delivered yet

    home.deliver(now, events(range(6, 8), day=1, device="app") + events(range(8, 9), day=1))
    assert [row["device"] for row in home.table()] == [None] * 6 + ["app", "app", None]
    assert len(home.types()) == 1
    rows = home.features(now, SUMS, Missing(column="device"), OneHot(column="device", values=("app",)))
    assert [row["device_is_missing"] for row in rows] == [1.0] * 6 + [0.0, 0.0, 1.0]
    assert [row["device_is_app"] for row in rows] == [0.0] * 6 + [1.0, 1.0, 0.0]
    assert rows[-1]["card_mean_amount_30d"] == pytest.approx((0.25 + 2.25 + 4.25 + 6.25 + 8.25) / 5)


def test_files_from_before_an_optional_column_go_on_being_read(home: Home) -> None:
    now = schema(*BEFORE, Column(name="tip", type="decimal", decimals=2, nullable=True, optional=True))
    home.deliver(now, events(range(6, 8), day=1))
    assert [row["tip"] for row in home.table()] == [None] * 8
    rows = home.features(now, Value(column="tip", fallback=-1.0))
    assert {row["tip_filled"] for row in rows} == {-1.0}


def test_an_added_column_that_must_have_a_value_needs_the_history_anew(home: Home) -> None:
    now = schema(*BEFORE, Column(name="channel", type="text"))
    before = home.table()
    said = "has no column channel, which must have a value; write it anew from all files"
    with pytest.raises(ConfigError, match=said):
        home.deliver(now, events(range(6, 8), day=1, channel="web"))
    with pytest.raises(InputError, match=said):
        home.features(now, SUMS)
    assert home.table() == before


@pytest.mark.parametrize("wider", ["decimal", "float"])
def test_an_integer_may_become_a_number_with_a_fraction(home: Home, wider: Any) -> None:
    now = schema(*replaced("items", type=wider, decimals=1 if wider == "decimal" else 0))
    features = [Value(column="items")]
    if wider == "decimal":
        features += [Rolling(key="card", agg=Mean(column="items"), windows=("30d",))]
    assert [row["items"] for row in home.features(now, *features)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    home.deliver(now, events(range(6, 7), day=1, items=6.5))
    rows = home.features(now, *features)
    assert [row["items"] for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5]
    assert len(home.types()) == 1
    if wider == "decimal":
        assert rows[-1]["card_mean_items_30d"] == (0 + 20 + 40 + 65) / 4 / 10


def test_more_decimals_keep_the_history_to_the_last_bit(home: Home) -> None:
    rows = home.features(schema(*BEFORE), SUMS)
    now = schema(*replaced("amount", decimals=3))
    assert home.features(now, SUMS) == rows
    home.deliver(now, events(range(6, 7), day=1, amount=0.125))
    assert home.table()[-1]["amount"] == 0.125
    assert home.features(now, SUMS)[-1]["card_mean_amount_30d"] == (250 + 2250 + 4250 + 125) / 4 / 1000


def test_ids_that_become_text_are_text_in_all_days(home: Home) -> None:
    declared = schema(*BEFORE)
    home.deliver(declared, events(range(6, 7), day=1, card="c-9"))
    assert [row["card"] for row in home.table()] == ["0", "1", "0", "1", "0", "1", "c-9"]
    assert read_event_table(home.folder / "events").whole_number_ids == ("id",)
    assert len(home.types()) == 1
    home.deliver(declared, events(range(8, 9), day=2, card=0))  # a number again, and of the same card
    assert home.table()[-1]["card"] == "0"
    rows = home.features(declared, Rolling(key="card", agg=Count(), windows=("30d",)))
    assert [row["card_count_30d"] for row in rows] == [1, 1, 2, 2, 3, 3, 1, 4]


def test_a_removed_column_leaves_the_table_and_files_may_still_have_it(home: Home) -> None:
    now = schema(*(c for c in BEFORE if c.name != "items"))
    assert "items" not in home.features(now, SUMS)[0]
    home.deliver(now, events(range(6, 7), day=1) + events(range(7, 8), day=1, items=None))
    assert len(home.types()) == 1
    assert "items" not in home.table()[0]
    assert home.features(now, SUMS)[-1]["card_mean_amount_30d"] == (1.25 + 3.25 + 5.25 + 7.25) / 4


def test_a_column_that_files_stop_having_is_missed_unless_it_is_optional(home: Home) -> None:
    gone = events(range(6, 8), day=1, items=None)
    with pytest.raises(InputError, match="no column items"):
        home.deliver(schema(*BEFORE), gone)
    home.deliver(schema(*replaced("items", nullable=True, optional=True)), gone)
    assert [row["items"] for row in home.table()] == [0, 1, 2, 3, 4, 5, None, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "amount", "type": "integer"}, "column amount is double, and now bigint"),
        ({"name": "items", "type": "boolean"}, "column items is bigint, and now boolean"),
    ],
)
def test_a_narrower_type_needs_the_history_anew(home: Home, change: dict[str, Any], said: str) -> None:
    now = schema(*replaced(change["name"], type=change["type"], decimals=0))
    with pytest.raises(InputError, match=said):
        home.features(now, Rolling(key="card", agg=Count(), windows=("30d",)))
    with pytest.raises(ConfigError, match=said):
        home.deliver(now, events(range(6, 7), day=1, amount=7, items=1))
