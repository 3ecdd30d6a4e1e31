"""A small regression of flats and their rents, without times and keys, and its feature table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.contract import Candidate, UseCase
from mlops.features import FeatureSet, Value
from mlops.policy import Policy, RandomSplit
from mlops.schema import Column, EventSchema, Label
from mlops.tables import FeatureTable, write_table_meta

__all__ = ["FEATURES", "USE_CASE", "write_feature_table"]

FEATURES = FeatureSet((Value(column="area", unit="m²"), Value(column="rooms"), Value(column="floor")))
USE_CASE = UseCase(
    name="flats",
    title="Rents of flats",
    events=EventSchema(
        id="flat",
        numbered=True,
        columns=(
            Column(name="flat", type="id"),
            *(Column(name=name, type="float") for name in FEATURES.names),
            Column(name="rent", type="decimal", decimals=2, nullable=True),
        ),
    ),
    label=Label(column="rent"),
    features=FEATURES,
    candidates=(
        Candidate(name="linear", framework="scikit-learn", builder="training.builders:ridge_regression"),
    ),
    policy=Policy(split=RandomSplit()),
)


def write_feature_table(folder: Path, *, rows: int = 500, seed: int = 0, dearer: float = 1.0) -> Path:
    """Flats whose rent follows from area and rooms, up to noise; `dearer` by a factor. Ten rents are not known."""
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(10, 3, rows) for name in FEATURES.names}
    rent = dearer * (500 + 40 * values["area"] + 40 * values["rooms"] + rng.normal(0, 50, rows))
    table = {
        "flat": [f"{seed}-{n}" for n in range(rows)],
        **values,
        "rent": pa.array(np.round(rent, 2), mask=np.arange(rows) < 10),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "part-0.parquet")
    meta = FeatureTable(
        rows=rows, unlabelled=10, features=FEATURES, events=(), whole_number_ids=(), fingerprint=f"{seed}"
    )
    write_table_meta(folder, meta)
    return folder
