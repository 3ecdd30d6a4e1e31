"""The monitoring step: drift, performance, alerts and a retrain request for one period."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pyarrow as pa

from mlops.contract import UseCase
from mlops.storage import write_json
from monitoring.performance import between, clock_of, measure_performance, read_table
from monitoring.results import Alert, DriftResult, MonitorResult, RetrainRequest
from monitoring.rules import drift_alert, performance_alert, request_retrain, retrain_request

__all__ = ["DRIFT_REPORT", "RESULT", "monitor"]

RESULT = "result.json"
DRIFT_REPORT = "drift.html"


def monitor(
    *,
    served: Path | pa.Table,
    labels: Path | pa.Table,
    use_case: UseCase,
    folder: Path,
    first_day: date,
    last_day: date,
    as_of: datetime,
    reference: Path | pa.Table | None = None,
    reference_figure: float | None = None,
    changed_since: date | None = None,
) -> MonitorResult:
    """Look at the events that were served from `first_day` to `last_day` (inclusive), as far as is known at `as_of`.

    Writes `folder/<day of as_of>/result.json`, Evidently's report beside it, and `folder/retrain-request.json` if
    performance has become worse. Running it again writes the same.

    Args:
        served, labels: as `measure_performance` reads them; `served` also has a column for each feature.
        reference: events with their features whose distribution is the normal one; without it drift is not
            looked at (and Evidently not imported).
        reference_figure: average precision, or root mean squared error, of an earlier period, measured the same way;
            without it no loss is seen.
        changed_since: where the changed period began, if that is known; else it begins with `first_day`.

    Raises:
        InputError: a table cannot be read, lacks a column or, where drift is looked for, has no rows.
    """
    day = as_of.date()
    out = folder / day.isoformat()
    events = between(read_table(served), clock_of(use_case), first_day, last_day)
    drift = None if reference is None else _drift(reference, events, use_case, out / DRIFT_REPORT)
    performance = measure_performance(events, labels, use_case, as_of=as_of)
    alerts: list[Alert] = []
    if drift is not None and (alert := drift_alert(drift)) is not None:
        alerts.append(alert)
    request: RetrainRequest | None = None
    if reference_figure is not None:
        alert = performance_alert(performance, reference_figure, use_case.policy.performance)
        if alert is not None:
            alerts.append(alert)
            wanted = retrain_request(
                alert,
                performance,
                reference_figure,
                changed_since=changed_since or first_day,
                requested_on=day,
                policy=use_case.policy,
                label=use_case.label,
            )
            request = request_retrain(folder, wanted)
    result = MonitorResult(
        first_day=first_day.isoformat(),
        last_day=last_day.isoformat(),
        as_of=performance.as_of,
        drift=drift,
        drift_report=DRIFT_REPORT if drift is not None and (out / DRIFT_REPORT).exists() else "",
        performance=performance,
        reference_figure=reference_figure,
        alerts=tuple(alerts),
        request=request,
    )
    write_json(out / RESULT, result)
    return result


def _drift(reference: Path | pa.Table, events: pa.Table, use_case: UseCase, report: Path) -> DriftResult:
    from monitoring.drift import detect_drift  # takes seconds, and only who looks for drift pays them

    # Of two champions each may read features of its own; what both read can be compared.
    tables = [events] if isinstance(reference, Path) else [events, reference]
    names = [
        name
        for name in use_case.features.names
        if all(name in table.column_names and not table[name].null_count for table in tables)
    ]
    before = reference if isinstance(reference, Path) else reference.select(names).to_pandas()
    return detect_drift(before, events.select(names).to_pandas(), names, use_case.policy.drift, report)
