"""What another model would have scored and decided on events that were served: nobody saw these scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from mlops.bundle import Bundle
from mlops.errors import InputError
from mlops.model import Model
from monitoring.performance import read_table

__all__ = ["rescore"]


def rescore(served: Path | pa.Table, bundle: Bundle, *, version: str) -> pa.Table:
    """The served events with the score, decision and version that `bundle` would have given them.

    It reads the features that were served, so it needs a column for each of the bundle's.

    Raises:
        InputError: a feature was not served.
    """
    table = read_table(served)
    names = bundle.features.names
    if missing := [name for name in names if name not in table.column_names]:
        raise InputError(f"has no column {', '.join(missing)}", where="served events")
    features = np.stack([table[name].cast(pa.float64()).to_numpy() for name in names], axis=1)
    scores = Model(bundle.model)(features.astype(np.float32))
    decisions = bundle.decisions
    columns = {
        "score": pa.array(np.asarray(scores, np.float64)),
        "decision": pa.array(
            [decisions and decisions.decide(score) for score in scores.tolist()], pa.string()
        ),
        "version": pa.array([version] * len(table)),
    }
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table
