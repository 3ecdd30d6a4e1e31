"""A small use case of machines that fail, and its feature table: nothing about training is about fraud."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.contract import Candidate, UseCase
from mlops.features import Calendar, Count, FeatureSet, Rolling, Value, duration_us
from mlops.policy import Costs, Gate, Policy, Split
from mlops.schema import Column, EventSchema, Label
from mlops.settings import Settings
from mlops.tables import EventTable, FeatureTable, read_feature_table, write_table_meta
from training.results import TrainSpec

__all__ = ["FEATURES", "FIRST_DAY", "USE_CASE", "settings", "spec", "write_feature_table", "write_home"]

FIRST_DAY = "2018-05-08"
DAY_US = duration_us("1d")
FEATURES = FeatureSet(
    (
        Value(column="load", unit="A", description="current"),
        Calendar(part="night", description="until 06:59"),
        Rolling(key="machine", agg=Count(), windows=("1d", "7d"), description="events"),
    )
)
USE_CASE = UseCase(
    name="machines",
    title="Machines that fail",
    events=EventSchema(
        id="event",
        time="at",
        columns=(
            Column(name="event", type="id"),
            Column(name="at", type="timestamp"),
            Column(name="machine", type="id"),
            Column(name="load", type="decimal", decimals=2),
            Column(name="failed", type="boolean", nullable=True),
        ),
    ),
    label=Label(column="failed", delay_days=2),
    features=FEATURES,
    candidates=(
        Candidate(
            name="trees",
            framework="scikit-learn",
            builder="usecases.fraud.models:extra_trees",
            params={"trees": 40},
        ),
        Candidate(
            name="torch",
            framework="pytorch",
            builder="usecases.fraud.models:mlp_torch",
            params={"epochs": 12, "learning_rate": 5e-3, "hidden": 16},
        ),
        Candidate(
            name="keras",
            framework="tensorflow",
            builder="usecases.fraud.models:mlp_keras",
            params={"epochs": 12, "learning_rate": 5e-3, "hidden": 16},
        ),
    ),
    policy=Policy(
        split=Split(train_days=3, delay_days=2, test_days=3),
        gate=Gate(min_test_positives=10),
        costs=Costs(),
        top_k=10,
    ),
    card="machine",
    amount="load",
)


def settings(home: Path) -> Settings:
    """Settings of this use case with everything in `home`."""
    return Settings(home=home, usecase="tests.training.example")


def spec(home: Path, features: Path, candidate: str = "trees", **changes: object) -> TrainSpec:
    """What to train, unless changed."""
    fields = {
        "settings": settings(home),
        "candidate": candidate,
        "features": features,
        "first_day": FIRST_DAY,
        "seed": 0,
        "out": home / "bundles",
    }
    return TrainSpec(**{**fields, **changes})


def write_feature_table(
    folder: Path,
    *,
    days: int = 8,
    per_day: int = 400,
    seed: int = 0,
    turned: bool = False,
    hopeless: bool = False,
    unlabelled: int = 0,
) -> Path:
    """Events of `days` days in no order, one in twelve a failure.

    Failures have a high load and few events a day; `turned`, they have a low load and many; `hopeless`, no feature
    knows anything of them. The labels of `unlabelled` events are not known, though all were due. Ids are text.
    """
    rng = np.random.default_rng(seed)
    n = days * per_day
    failed = rng.random(n) < 1 / 12
    told = np.where(failed & (not hopeless), -1.0 if turned else 1.0, 0.0)
    first = int(datetime.fromisoformat(FIRST_DAY).replace(tzinfo=UTC).timestamp()) * 1_000_000
    time = first + np.arange(n) * (days * DAY_US // n)
    known = np.ones(n, np.bool_)
    due = (days - USE_CASE.label.delay_days) * per_day
    known[rng.choice(due, unlabelled, replace=False)] = False
    table = pa.table(
        {
            "event": pa.array([f"e{i:06d}" for i in range(n)]),
            "at": pa.array(time, pa.timestamp("us", "UTC")),
            "machine": pa.array(rng.integers(0, 5_000, n)),
            "load": np.round(np.exp(3 + 0.5 * rng.normal(size=n) + 1.2 * told), 2),
            "failed": pa.array(failed, mask=~known),
            "is_night": (time % DAY_US < 7 * DAY_US // 24).astype(float),
            "machine_count_1d": np.maximum(1, np.round(6 + 2 * rng.normal(size=n) - 3 * told)),
            "machine_count_7d": np.maximum(1, np.round(40 + 9 * rng.normal(size=n))),
        }
    )
    shuffled = table.take(rng.permutation(n))
    folder.mkdir(parents=True)
    for part, start in enumerate(range(0, n, n // 3 + 1)):
        pq.write_table(shuffled.slice(start, n // 3 + 1), folder / f"part-{part}.parquet")
    meta = FeatureTable(
        rows=n,
        unlabelled=unlabelled,
        features=FEATURES,
        events=(),
        whole_number_ids=("machine",),
        fingerprint=f"{seed}-{turned}-{hopeless}",
    )
    write_table_meta(folder, meta)
    return folder


def write_home(settings: Settings, features: Path) -> None:
    """Put a feature table into a home, as that of the events there; of these only the table's description is there."""
    shutil.copytree(features, settings.features)
    held = read_feature_table(settings.features)
    write_table_meta(settings.features, msgspec.structs.replace(held, events=("of the events",)))
    settings.events.mkdir()
    write_table_meta(
        settings.events,
        EventTable(
            rows=held.rows,
            whole_number_ids=held.whole_number_ids,
            first_event="",
            last_event="",
            fingerprint="of the events",
        ),
    )


def rewrite(folder: Path, **columns: object) -> None:
    """Replace columns of a feature table, or drop those that are None."""
    table = pq.read_table(folder).sort_by("event")
    for name, value in columns.items():
        place = table.schema.get_field_index(name)
        table = table.drop_columns(name) if value is None else table.set_column(place, name, pa.array(value))
    for part in folder.glob("*.parquet"):
        part.unlink()
    pq.write_table(table, folder / "part-0.parquet")


def other_definitions(folder: Path) -> None:
    """Say of a feature table that its loads were scaled otherwise."""
    features = FeatureSet(
        (*FEATURES.features[:-1], msgspec.structs.replace(FEATURES.features[-1], delay="1d"))
    )
    write_table_meta(
        folder,
        FeatureTable(
            rows=1,
            unlabelled=0,
            features=features,
            events=(),
            whole_number_ids=("machine",),
            fingerprint="other",
        ),
    )
