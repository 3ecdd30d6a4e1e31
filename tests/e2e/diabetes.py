"""A regression that no use case of ours is: patients with a category, blanks and a date, as text in a CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlops.contract import Candidate, UseCase
from mlops.features import Calendar, FeatureSet, Missing, OneHot, Value
from mlops.policy import Drift, Gate, Policy, RandomSplit
from mlops.schema import Column, EventSchema, Label

__all__ = ["USE_CASE", "write_source"]

BLOOD = ("s1", "s2", "s3", "s4", "s5", "s6")

USE_CASE = UseCase(
    name="diabetes",
    title="Progression of diabetes",
    events=EventSchema(
        id="patient",
        numbered=True,
        columns=(
            Column(name="patient", type="id"),
            Column(name="age", type="integer", minimum=0, maximum=120),
            Column(name="sex", type="text", nullable=True),
            Column(name="admitted", type="timestamp", nullable=True),
            Column(name="bmi", type="decimal", decimals=1, minimum=0),
            Column(name="bp", type="float", nullable=True, minimum=0),
            *(Column(name=name, type="float") for name in BLOOD),
            Column(name="progression", type="float", nullable=True, minimum=0),
        ),
    ),
    label=Label(column="progression"),
    features=FeatureSet(
        (
            Value(column="age"),
            OneHot(column="sex", values=("female", "male")),
            Calendar(part="month", column="admitted"),
            Value(column="bmi"),
            Value(column="bp", fallback=95.0),
            Missing(column="bp"),
            *(Value(column=name) for name in BLOOD),
        )
    ),
    candidates=(
        Candidate(name="linear", framework="scikit-learn", builder="training.builders:ridge_regression"),
        Candidate(name="trees", framework="scikit-learn", builder="training.builders:boosted_regressor"),
    ),
    policy=Policy(
        split=RandomSplit(train=0.7, validation=0, test=0.3),
        gate=Gate(baseline_margin=0.02),
        drift=Drift(threshold=0.3, share=0.3),
    ),
    source="tests.e2e.diabetes:write_source",
)


def write_source(folder: Path) -> int:
    """Write scikit-learn's table, some of it in words, as CSV with semicolons; return its rows."""
    from sklearn.datasets import load_diabetes

    table, progression = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    number = np.arange(len(table))
    days = np.datetime64("2003-01-01") + number.astype("timedelta64[D]")
    table = table.assign(
        age=table.age.astype(int),
        sex=np.where(number % 50 == 7, "", np.where(table.sex == 1, "female", "male")),
        admitted=np.where(number % 9 == 4, "", days.astype(str)),
        bp=table.bp.where(number % 7 != 3),
        progression=progression,
    )
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "patients.csv", sep=";", index=False)
    return len(table)
