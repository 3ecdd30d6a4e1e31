"""The demo's story: how the models did in each period, and what the page tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlops.bundle import open_bundle
from mlops.deployment import Deployment, bundle_path
from mlops.metrics import average_precision, precision_recall_curve
from mlops.policy import Split
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from monitoring import story as tale
from monitoring.counterfactual import rescore
from monitoring.performance import between, measure_performance, read_table
from monitoring.results import PerformanceResult
from pipelines.demo_days import CHANGE_DAY, LAST_LABELS, LAST_REPLAYED, RETRAIN_DAY, SERVE_DAY, TRAIN_DAY
from pipelines.demo_results import SUMMARY, Facts, Summary, ranking_of
from pipelines.lifecycle import Release
from training.results import TrainResult

__all__ = ["measure_periods", "tell_story"]


def measure_periods(settings: Settings, facts: Facts) -> tuple[tale.Period, ...]:
    """What was served before the change, after it and at the end, and what the old model would have scored then."""
    before, after = _model(facts.before), _model(facts.after)
    last = (RETRAIN_DAY + 1, LAST_REPLAYED)
    table = read_table(facts.served)
    parts: list[tuple[tale.Role, str, str, tuple[int, int], Any]] = [
        ("before", "Before the change", str(before), (SERVE_DAY, CHANGE_DAY - 1), table),
        ("changed", "After the change", str(before), (CHANGE_DAY, RETRAIN_DAY - 1), table),
    ]
    if after != before:
        path = bundle_path(settings.pointer, facts.before.champion)
        old = open_bundle(path, public_key=settings.keys / PUBLIC_KEY)
        virtual = rescore(
            between(table, facts.use_case.events.time, *_dates(facts, last)), old, version="old"
        )
        parts += [
            ("retrained", "After retraining", str(after), last, table),
            ("counterfactual", "The old model, had it stayed", str(before), last, virtual),
        ]
    else:
        parts.append(("unchanged", "The same model, still serving", str(after), last, table))
    return tuple(
        tale.Period.of(measured, role=role, title=title, model=model, day_zero=facts.day_zero)
        for role, title, model, days, served in parts
        if (measured := _measure(facts, served, days)).period is not None
    )


def _measure(facts: Facts, served: Any, days: tuple[int, int]) -> PerformanceResult:
    first, last = _dates(facts, days)
    as_of = datetime.combine(facts.day_zero, datetime.min.time(), UTC) + timedelta(days=LAST_LABELS + 1)
    return measure_performance(
        served, facts.labels, facts.use_case, as_of=as_of, first_day=first, last_day=last
    )


def _dates(facts: Facts, days: tuple[int, int]) -> tuple[date, date]:
    first, last = (facts.day_zero + timedelta(days=day) for day in days)
    return first, last


def tell_story(
    settings: Settings, facts: Facts, summary: Summary, periods: tuple[tale.Period, ...]
) -> tale.Story:
    """All that the page shows, none of which it has to compute."""
    trainings = [_training("Before the change", facts, TRAIN_DAY, facts.trained, facts.released)]
    if facts.retraining:
        again, first = (
            facts.retraining,
            (date.fromisoformat(facts.retraining.request.train_from) - facts.day_zero),
        )
        trainings.append(
            _training(
                "After the change",
                facts,
                first.days,
                again.candidates,
                again.release,
                incumbent=_incumbent(facts, again.candidates[0].evaluation),
            )
        )
    assert facts.drift.drift is not None, "this step always looks for drift"
    return tale.Story(
        title=facts.use_case.title,
        seed=facts.seed,
        day_zero=facts.day_zero.isoformat(),
        cards=int(facts.knobs["customers"]),
        days=LAST_LABELS + 1,
        events_in=facts.validated.rows_in,
        events_good=facts.validated.good,
        events_quarantined=facts.validated.quarantined,
        events_duplicate=facts.validated.duplicates,
        quarantine_reasons=facts.validated.reasons,
        windows=_windows(trainings),
        milestones=_milestones(facts, summary),
        trainings=tuple(trainings),
        champion_before=_model(facts.before),
        champion_after=_model(facts.after),
        periods=periods,
        drift=facts.drift.drift,
        drift_days=(CHANGE_DAY, CHANGE_DAY + 6),
        parity_events=max(result.compared for result in facts.parity),
        feature_parity_max_abs_diff=summary.feature_parity_max_abs_diff,
        onnx_parity_max_abs_diff=summary.onnx_parity_max_abs_diff,
        requests_sent=summary.requests_sent,
        requests_failed=summary.requests_failed,
        stages=tuple(
            tale.Stage(name=name, seconds=seconds) for name, seconds in summary.stage_seconds.items()
        ),
        wall_seconds=summary.wall_seconds,
        links=_links(settings, facts),
    )


def _windows(trainings: Sequence[tale.Training]) -> tuple[tale.Window, ...]:
    windows: list[tale.Window] = []
    for training, lane in zip(trainings, ("first model", "retrained model"), strict=False):
        (first, last), (test, end) = training.train_days, training.test_days
        windows += [
            tale.Window(lane=lane, kind="train", first_day=first, last_day=last, text="train"),
            tale.Window(lane=lane, kind="delay", first_day=last + 1, last_day=test - 1, text="labels"),
            tale.Window(lane=lane, kind="test", first_day=test, last_day=end, text="test"),
        ]
    lane = "served over HTTP"
    windows += [
        tale.Window(lane=lane, kind="quiet", first_day=SERVE_DAY, last_day=CHANGE_DAY - 1, text="quiet"),
        tale.Window(
            lane=lane,
            kind="changed",
            first_day=CHANGE_DAY,
            last_day=RETRAIN_DAY - 1,
            text="the world has changed",
        ),
        tale.Window(lane=lane, kind="swap", first_day=RETRAIN_DAY, last_day=LAST_REPLAYED, text="swap"),
        tale.Window(
            lane=lane, kind="labels", first_day=LAST_REPLAYED + 1, last_day=LAST_LABELS, text="labels"
        ),
    ]
    return tuple(windows)


def _milestones(facts: Facts, summary: Summary) -> tuple[tale.Milestone, ...]:
    found = (
        f"{len(summary.drifted_features)} features have drifted"
        if summary.drift_detected
        else "no drift found"
    )
    marks = [
        tale.Milestone(day=SERVE_DAY, text=f"{_model(facts.before)} goes live", kind="model"),
        tale.Milestone(day=CHANGE_DAY, text="the world changes", kind="change"),
        tale.Milestone(day=CHANGE_DAY + 7, text=f"monitoring: {found}", kind="alert"),
        tale.Milestone(
            day=CHANGE_DAY + 14,
            text="the labels are in: "
            + ("retraining is asked for" if facts.loss.request else "no certain loss"),
            kind="alert" if facts.loss.request else "neutral",
        ),
    ]
    if summary.retrained:
        marks.append(tale.Milestone(day=RETRAIN_DAY, text=f"{_model(facts.after)} takes over", kind="model"))
    elif facts.retraining:
        marks.append(
            tale.Milestone(day=RETRAIN_DAY, text="the gate refuses the retrained models", kind="refusal")
        )
    marks.append(tale.Milestone(day=LAST_LABELS + 1, text="the last labels are in"))
    return tuple(marks)


def _links(settings: Settings, facts: Facts) -> tuple[tale.Link, ...]:
    def relative(path: Path) -> str:
        return path.relative_to(settings.home).as_posix()

    report = (
        settings.monitoring
        / date.fromisoformat(facts.drift.as_of[:10]).isoformat()
        / facts.drift.drift_report
    )
    return (
        tale.Link(title="Drift report", text="by Evidently, feature by feature", href=relative(report)),
        tale.Link(
            title="Model card",
            text=f"of {_model(facts.after)}, as it lies in the signed bundle",
            href=relative(bundle_path(settings.pointer, facts.after.champion) / "card.md"),
        ),
        tale.Link(
            title="Decision log",
            text="every answer, with the features it rests on",
            href=relative(settings.decisions),
        ),
        tale.Link(title="Figures", text="of this run, for machines", href=SUMMARY),
        tale.Link(
            title="MLflow",
            text="runs, metrics and the registry",
            command=f".venv/bin/mlflow ui --backend-store-uri {settings.mlflow_uri}",
        ),
    )


def _model(deployment: Deployment) -> tale.Model:
    champion = deployment.champion
    return tale.Model(version=champion.version, framework=champion.framework, candidate=champion.candidate)


def _training(
    title: str,
    facts: Facts,
    first: int,
    results: Sequence[TrainResult],
    release: Release,
    incumbent: tale.Curve | None = None,
) -> tale.Training:
    split, cards = facts.use_case.policy.split, ranking_of(results[0]).card_precision
    assert isinstance(split, Split), "the demo's world has a time"
    test = first + split.train_days + split.delay_days
    return tale.Training(
        title=title,
        train_days=(first, first + split.train_days - 1),
        test_days=(test, test + split.test_days - 1),
        candidates=tuple(_candidate(result, release) for result in results),
        promoted=release.candidate,
        incumbent=incumbent,
        cp100_oracle=cards.oracle if cards else None,
    )


def _incumbent(facts: Facts, evaluation: Path) -> tale.Curve:
    """What the champion of the time scored on the same test events: it served them."""
    tested = pq.read_table(evaluation, columns=["id", "label"])
    served = read_table(facts.served).select([facts.use_case.events.id, "score"])
    joined = tested.join(served, keys="id", right_keys=facts.use_case.events.id, join_type="inner")
    return _curve(joined)


def _curve(scored: pa.Table) -> tale.Curve:
    """From the columns label and score."""
    label, score = scored["label"].to_numpy(), scored["score"].to_numpy()
    curve = precision_recall_curve(label, score)
    return tale.Curve(
        recall=tuple(curve.recall), precision=tuple(curve.precision), ap=average_precision(label, score)
    )


def _candidate(result: TrainResult, release: Release) -> tale.Candidate:
    verdict, figures = release.verdicts[result.name], ranking_of(result)
    return tale.Candidate(
        name=result.name,
        framework=result.framework,
        auc=figures.auc.value,
        ap=figures.ap.value,
        cp100=figures.card_precision.value if figures.card_precision else None,
        onnx_max_abs_diff=result.onnx_max_abs_diff,
        seconds=result.seconds,
        curve=_curve(pq.read_table(result.evaluation, columns=["label", "score"])),
        admitted=verdict.admitted,
        checks=tuple(
            tale.Check(
                name=check.name,
                observed="" if check.observed is None else f"{check.observed:.4g}",
                limit=f"{check.limit:.4g}",
                passed=check.passed,
                text=check.text,
            )
            for check in verdict.checks
        ),
    )
