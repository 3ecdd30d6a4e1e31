"""When what monitoring found becomes an alert, and when a request to retrain."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from mlops.policy import Performance, Policy, Split
from mlops.schema import Label
from mlops.storage import read_json, write_json
from monitoring.results import (
    Alert,
    DriftResult,
    PerformanceResult,
    RegressionScores,
    RetrainRequest,
    Scores,
)

__all__ = [
    "REQUEST",
    "drift_alert",
    "open_request",
    "performance_alert",
    "request_retrain",
    "retrain_request",
]

REQUEST = "retrain-request.json"


def drift_alert(drift: DriftResult) -> Alert | None:
    """An alert if at least the policy's share of features has drifted."""
    if not drift.drifted:
        return None
    names = drift.drifted_features
    return Alert(
        rule="drift",
        observed=drift.share,
        limit=drift.limit,
        text=f"{len(names)} of {len(drift.columns)} features have drifted: {', '.join(names)}",
    )


def performance_alert(
    performance: PerformanceResult, reference_figure: float, rules: Performance
) -> Alert | None:
    """An alert if average precision has dropped, or the root mean squared error has risen, for certain.

    That is: even the better end of the interval is worse by more than the policy allows than `reference_figure`, that
    of an earlier period which was measured the same way; and the events are enough to tell.
    """
    period = performance.period
    if period is None:
        return None
    if isinstance(period, Scores):
        return _dropped(period, reference_figure, rules)
    return _risen(period, reference_figure, rules)


def _dropped(period: Scores, reference_ap: float, rules: Performance) -> Alert | None:
    limit = reference_ap - rules.min_drop
    if period.ap is None or period.positives < rules.min_positives or period.ap.high >= limit:
        return None
    return Alert(
        rule="performance",
        observed=period.ap.high,
        limit=limit,
        text=(
            f"average precision {period.ap.value:.3f} (at most {period.ap.high:.3f}) on {period.first_day} to "
            f"{period.last_day}, against {reference_ap:.3f} before"
        ),
    )


def _risen(period: RegressionScores, reference_rmse: float, rules: Performance) -> Alert | None:
    limit = reference_rmse * (1 + rules.max_rise)
    if period.events < rules.min_events or period.rmse.low <= limit:
        return None
    return Alert(
        rule="performance",
        observed=period.rmse.low,
        limit=limit,
        text=(
            f"root mean squared error {period.rmse.value:.4g} (at least {period.rmse.low:.4g}) on {period.first_day} "
            f"to {period.last_day}, against {reference_rmse:.4g} before"
        ),
    )


def retrain_request(
    alert: Alert,
    performance: PerformanceResult,
    reference_figure: float,
    *,
    changed_since: date,
    requested_on: date,
    policy: Policy,
    label: Label,
) -> RetrainRequest:
    """The request that follows from a performance alert.

    By time, training starts at `changed_since`, and waits for its test days and their labels. At random, it can start
    at once.
    """
    period = performance.period
    assert period is not None and period.headline is not None, "there is no performance alert without them"
    split, not_before = policy.split, requested_on
    if isinstance(split, Split):
        not_before = changed_since + timedelta(days=split.days + label.delay_days)
    positives = {"positives": float(period.positives)} if isinstance(period, Scores) else {}
    return RetrainRequest(
        reason=alert.text,
        evidence={
            "reference": reference_figure,
            "figure": period.headline.value,
            "figure_low": period.headline.low,
            "figure_high": period.headline.high,
            **positives,
            "events": float(period.events),
            "labels_missing": float(performance.missing),
        },
        requested_on=requested_on.isoformat(),
        train_from=changed_since.isoformat(),
        not_before=not_before.isoformat(),
    )


def open_request(folder: Path) -> RetrainRequest | None:
    """The request in `folder` that nobody has acted on yet, if there is one.

    Raises:
        InputError: the file is not a request.
    """
    path = folder / REQUEST
    return read_json(path, RetrainRequest) if path.exists() else None


def close_request(folder: Path, request: RetrainRequest) -> None:
    """Remove this request, which has been acted on. Another one that has come since stays."""
    if open_request(folder) == request:
        (folder / REQUEST).unlink(missing_ok=True)


def request_retrain(folder: Path, request: RetrainRequest) -> RetrainRequest:
    """Write the request, unless one is open already: that one stands, and is returned.

    So asking again, in the same run or a week later, neither changes nor postpones what was asked for first. Who
    acts on a request removes it.
    """
    if (standing := open_request(folder)) is not None:
        return standing
    write_json(folder / REQUEST, request)
    return request
