"""Data drift by Evidently, one statistic a feature.

Importing Evidently takes seconds, and this is the only module that does; `monitoring.results` holds what it returns.
So the step can run in a process of its own. The HTML report carries its scripts inside and opens without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import ConfigError, InputError
from mlops.policy import Drift
from mlops.quiet import telemetry_off
from mlops.storage import replace_file
from monitoring.results import ColumnDrift, DriftResult

telemetry_off()  # Evidently reads the switch when it is imported

from evidently import DataDefinition, Dataset, Report  # noqa: E402
from evidently.legacy.calculations.stattests.registry import StatTestNotFoundError  # noqa: E402
from evidently.legacy.tests.base_test import TestStatus  # noqa: E402
from evidently.presets import DataDriftPreset  # noqa: E402

__all__ = ["detect_drift"]


def detect_drift(
    reference: Path | pd.DataFrame,
    current: Path | pd.DataFrame,
    features: Sequence[str],
    policy: Drift,
    report: Path,
) -> DriftResult:
    """Compare the distribution of each feature with that of the reference, and save Evidently's report.

    A feature without any value on one side has drifted, one without any on both sides has not; Evidently, which
    refuses both, does not get to see them, and if nothing is left for it, there is no report. Infinite values count
    as missing.

    Args:
        reference, current: Parquet (a file or a folder) or a frame with the columns `features`, all numbers.
        policy: Evidently's statistic for numeric columns, its threshold, and the share of drifted features from
            which on the data set has drifted.
        report: the HTML file to write.

    Raises:
        InputError: a column is missing, or a side has no rows.
        ConfigError: Evidently knows no such statistic.
    """
    before, after = _frame(reference, features, "reference"), _frame(current, features, "current")
    full = [name for name in features if before[name].notna().any() and after[name].notna().any()]
    report.unlink(missing_ok=True)
    found = _evidently(before[full], after[full], policy, report) if full else {}
    columns = []
    for name in features:
        value, drifted = found.get(
            name, (None, bool(before[name].notna().any() or after[name].notna().any()))
        )
        columns.append(
            ColumnDrift(
                name=name, statistic=policy.method, value=value, threshold=policy.threshold, drifted=drifted
            )
        )
    share = sum(column.drifted for column in columns) / len(columns)
    return DriftResult(
        drifted=share >= policy.share,
        share=share,
        limit=policy.share,
        columns=tuple(columns),
        reference_rows=len(before),
        current_rows=len(after),
    )


def _frame(data: Path | pd.DataFrame, features: Sequence[str], side: str) -> pd.DataFrame:
    where = data if isinstance(data, Path) else f"{side} data"
    if isinstance(data, Path):
        try:
            present = set(pq.ParquetDataset(data, partitioning=None).schema.names)
            data = pq.read_table(data, columns=[n for n in features if n in present], partitioning=None)
            data = data.to_pandas()
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"cannot be read as Parquet: {error}", where=where) from None
    if missing := [name for name in features if name not in data.columns]:
        raise InputError(f"has no column {', '.join(missing)}", where=where)
    if data.empty:
        raise InputError("has no rows", where=where, todo="drift needs data on both sides")
    return data[list(features)].astype("float64").replace([np.inf, -np.inf], np.nan)


def _evidently(
    before: pd.DataFrame, after: pd.DataFrame, policy: Drift, report: Path
) -> dict[str, tuple[float, bool]]:
    """Value and verdict of each column, by Evidently, whose report is written to `report`."""
    names = list(before.columns)
    definition = DataDefinition(numerical_columns=names, categorical_columns=[])
    preset = DataDriftPreset(
        columns=names, method=policy.method, threshold=policy.threshold, drift_share=policy.share
    )
    data = [Dataset.from_pandas(frame, data_definition=definition) for frame in (after, before)]
    try:
        with np.errstate(
            all="ignore"
        ):  # the correlations in its report divide by a constant column's deviation
            snapshot = Report([preset], include_tests=True).run(*data)
    except StatTestNotFoundError as error:
        raise ConfigError(str(error), where="policy drift.method") from None
    with replace_file(report) as path:
        snapshot.save_html(str(path))
    result = snapshot.dict()
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in result["metrics"]
        if "column" in metric["config"]
    }
    drifted = {
        test["metric_config"]["params"]["column"]: test["status"] == TestStatus.FAIL
        for test in result["tests"]
        if "column" in test["metric_config"]["params"]
    }
    return {name: (values[name], drifted[name]) for name in names}
