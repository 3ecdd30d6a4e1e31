"""What the demo found, as data: what its steps returned, and `summary.json` for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from mlops.contract import UseCase
from mlops.deployment import Deployed, Deployment
from monitoring.results import MonitorResult
from monitoring.story import Period
from pipelines.lifecycle import Release
from pipelines.parity import ParityResult
from pipelines.replay import ReplayResult
from pipelines.retrain import Retraining
from pipelines.validate import ValidateResult
from training.results import TrainResult
from training.tasks.classification import ClassificationEvaluation

__all__ = ["PAGE", "SUMMARY", "Facts", "Summary", "alerts_told", "ranking_of", "rows_told", "summarise"]

PAGE, SUMMARY = "index.html", "summary.json"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that the loop's steps returned."""

    use_case: UseCase
    seed: int
    knobs: dict[str, Any]
    day_zero: date
    validated: ValidateResult
    trained: tuple[TrainResult, ...]
    released: Release
    before: Deployment
    after: Deployment
    replays: tuple[ReplayResult, ...]
    parity: tuple[ParityResult, ...]
    drift: MonitorResult
    loss: MonitorResult
    retraining: Retraining | None
    served: Path
    labels: Path


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    framework: str


class CandidateScores(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    framework: str
    auc: float
    ap: float
    cp100: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`.

    `ap_before_shift` is measured on the quiet week, `ap_after_shift` on the changed weeks before the retraining,
    `ap_after_retrain` on the days after the day of the swap, whoever answered then; all on what was served.
    `retrained` says whether retraining gave a new champion. `feature_parity_max_abs_diff` is over `parity_events`
    served events, and null in the file if one of those that were served is not in the feature table.
    """

    seed: int
    wall_seconds: float
    stage_seconds: dict[str, float]
    events_in: int
    events_quarantined: int
    candidates: tuple[CandidateScores, ...]
    champion_before: ModelName
    champion_after: ModelName
    retrained: bool
    ap_before_shift: float | None
    ap_after_shift: float | None
    ap_after_retrain: float | None
    drift_detected: bool
    drifted_features: tuple[str, ...]
    feature_parity_max_abs_diff: float
    parity_events: int
    onnx_parity_max_abs_diff: float
    requests_sent: int
    requests_failed: int


def ranking_of(result: TrainResult) -> ClassificationEvaluation:
    """The figures of a candidate of the demo, whose use case is a classification."""
    assert isinstance(result.figures, ClassificationEvaluation)
    return result.figures


def rows_told(result: ValidateResult) -> str:
    """What became of each row, for the log."""
    return (
        f"{result.good:,} of {result.rows_in:,} rows are good, {result.quarantined:,} quarantined, "
        f"{result.duplicates:,} duplicates"
    )


def alerts_told(result: MonitorResult, day_zero: date) -> str:
    """What monitoring found, for the log: with the days of the demo that it looked at, as others see other days."""
    first, last = ((date.fromisoformat(day) - day_zero).days for day in (result.first_day, result.last_day))
    return f"days {first}–{last}: {'; '.join(alert.text for alert in result.alerts) or 'no alert'}"


def summarise(
    facts: Facts, periods: Sequence[Period], *, stages: Mapping[str, float], seconds: float
) -> Summary:
    """The figures of a run that took `seconds` in all and `stages` in parts."""
    results = facts.trained + (facts.retraining.candidates if facts.retraining else ())
    return Summary(
        seed=facts.seed,
        wall_seconds=round(seconds, 1),
        stage_seconds=dict(stages),
        events_in=facts.validated.rows_in,
        events_quarantined=facts.validated.quarantined,
        candidates=tuple(
            CandidateScores(
                name=r.name,
                framework=r.framework,
                auc=ranking_of(r).auc.value,
                ap=ranking_of(r).ap.value,
                cp100=cards.value if (cards := ranking_of(r).card_precision) else None,
            )
            for r in facts.trained
        ),
        champion_before=_name(facts.before.champion),
        champion_after=_name(facts.after.champion),
        retrained=facts.after.champion != facts.before.champion,
        ap_before_shift=_ap(periods, "before"),
        ap_after_shift=_ap(periods, "changed"),
        ap_after_retrain=_ap(periods, "retrained", "unchanged"),
        drift_detected=facts.drift.drift is not None and facts.drift.drift.drifted,
        drifted_features=facts.drift.drift.drifted_features if facts.drift.drift else (),
        feature_parity_max_abs_diff=max(result.max_abs_diff for result in facts.parity),
        parity_events=max(result.compared for result in facts.parity),
        onnx_parity_max_abs_diff=max(result.onnx_max_abs_diff for result in results),
        requests_sent=sum(result.requests for result in facts.replays),
        requests_failed=sum(result.failed for result in facts.replays),
    )


def _name(deployed: Deployed) -> ModelName:
    return ModelName(version=deployed.version, framework=deployed.framework)


def _ap(periods: Sequence[Period], *roles: str) -> float | None:
    for period in periods:
        if period.role in roles and period.scores.ap is not None:
            return period.scores.ap.value
    return None
