"""What monitoring finds, as plain data: read and passed on without the libraries that found it."""

from __future__ import annotations

import msgspec

from mlops.metrics import Cost, Interval

__all__ = [
    "Alert",
    "ColumnDrift",
    "DriftResult",
    "MonitorResult",
    "PerformanceResult",
    "PeriodScores",
    "RegressionScores",
    "RetrainRequest",
    "Scores",
]


class _Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ColumnDrift(_Result, frozen=True, kw_only=True):
    """Drift of one feature. `value` is None where one side holds no value at all."""

    name: str
    statistic: str
    value: float | None
    threshold: float
    drifted: bool


class DriftResult(_Result, frozen=True, kw_only=True):
    """Drift of a data set: `share` of its `columns` drifted, and it is `drifted` from the policy's `limit` on."""

    drifted: bool
    share: float
    limit: float
    columns: tuple[ColumnDrift, ...]
    reference_rows: int
    current_rows: int

    @property
    def drifted_features(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.drifted)


class Scores(_Result, frozen=True, kw_only=True, tag="classification"):
    """How well the events from `first_day` to `last_day` (ISO dates, inclusive) were scored and decided.

    Only events whose label is due and has arrived count. AP and AUC need both classes, and are None without; so
    are precision, where nothing was reviewed or declined, and recall, where there was no positive. `versions` are
    those of the models that answered; `cost` holds what was decided, and what it cost. It, precision and recall are
    None where nothing is decided.
    """

    first_day: str
    last_day: str
    versions: tuple[str, ...]
    events: int
    positives: int
    ap: Interval | None
    auc: float | None
    precision: float | None
    recall: float | None
    cost: Cost | None

    @property
    def headline(self) -> Interval | None:
        """What a period is compared by."""
        return self.ap


class RegressionScores(_Result, frozen=True, kw_only=True, tag="regression"):
    """How far predictions were off for the events from `first_day` to `last_day` (ISO dates, inclusive).

    Only events whose label is due and has arrived count. `bias` is the mean of prediction less label; `r2` is None
    where all labels are one number. `versions` are those of the models that answered.
    """

    first_day: str
    last_day: str
    versions: tuple[str, ...]
    events: int
    rmse: Interval
    mae: float
    bias: float
    r2: float | None

    @property
    def headline(self) -> Interval | None:
        """What a period is compared by."""
        return self.rmse


PeriodScores = Scores | RegressionScores


class PerformanceResult(_Result, frozen=True, kw_only=True):
    """Performance as far as labels are due at `as_of` (ISO 8601, UTC).

    Of the served events `due` have a label that should be known by then, `missing` of these have none (they are
    left out of all scores), and the labels of `not_due` are not awaited yet. `period` is None if no label is in.
    """

    as_of: str
    served: int
    due: int
    missing: int
    not_due: int
    period: PeriodScores | None
    days: tuple[PeriodScores, ...]


class Alert(_Result, frozen=True, kw_only=True):
    """What a rule found worth a person's attention."""

    rule: str
    observed: float
    limit: float
    text: str


class RetrainRequest(_Result, frozen=True, kw_only=True):
    """Monitoring's request, on which the pipelines act. All days are ISO dates.

    `train_from` is the first day of the changed period; from `not_before` on, training, delay and test days after
    it have passed and the labels of the last test day are due. `evidence` holds the numbers behind the `reason`.
    """

    reason: str
    evidence: dict[str, float]
    requested_on: str
    train_from: str
    not_before: str


class MonitorResult(_Result, frozen=True, kw_only=True):
    """What monitoring found about the period from `first_day` to `last_day` (ISO dates, inclusive) at `as_of`.

    `reference_figure` is the average precision, or the root mean squared error, that it was compared with.
    """

    first_day: str
    last_day: str
    as_of: str
    drift: DriftResult | None
    drift_report: str
    performance: PerformanceResult
    reference_figure: float | None
    alerts: tuple[Alert, ...]
    request: RetrainRequest | None
