"""The figures of a scorer on parts of the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import Decisions
from mlops.slices import Slice, SliceFigures, cut
from training.dataset import Dataset
from training.slicing import columns_of
from training.tasks import Rows

__all__ = ["MIN_POSITIVES", "judge_slices"]

MIN_POSITIVES = 10  # fewer, and a figure says more about the draw than about the slice


def judge_slices(
    slices: Sequence[Slice],
    details: Sequence[str],
    data: Dataset,
    rows: Rows,
    score: NDArray[np.float64],
    cluster: Rows,
    decisions: Decisions | None,
    **drawn: Any,
) -> tuple[SliceFigures, ...]:
    """`ap`, `auc`, `expected` (positives that the scores add up to over those that there are) and, with decisions,
    `stopped` and `false_alarms`: the shares of positives and of others that are not approved.

    By kind of positive nothing is `expected`: scores do not say of which kind they are.

    Args:
        score, cluster: of the rows.
        drawn: how the intervals are drawn: see `mlops.metrics.bootstrap`.
    """
    label = data.label[rows].astype(np.int64)
    parts = cut(slices, columns_of(data, rows), positive=label == 1, details=details)
    flagged = np.zeros(len(rows)) if decisions is None else (score >= decisions.review_at).astype(np.float64)
    kinds = {one.name for one in slices if one.column in details}
    statistics = []
    for part in parts:
        if not _tells(label[part.rows]):
            continue
        statistics.append(metrics.ranking_statistic(label, score, cluster, part.rows))
        positive, other = part.rows * label, part.rows * (1 - label)
        ratios = {} if part.name in kinds else {"expected": (score * part.rows, positive)}
        if decisions is not None:
            ratios |= {"stopped": (flagged * positive, positive), "false_alarms": (flagged * other, other)}
        statistics.append(metrics.means(ratios, cluster))
    found = iter(metrics.bootstrap(statistics, cluster, **drawn))
    return tuple(
        SliceFigures(
            name=part.name,
            value=part.value,
            events=int(part.rows.sum()),
            positives=int(label[part.rows].sum()),
            figures=next(found) | next(found) if _tells(label[part.rows]) else None,
        )
        for part in parts
    )


def _tells(label: Rows) -> bool:
    return MIN_POSITIVES <= label.sum() <= len(label) - MIN_POSITIVES
