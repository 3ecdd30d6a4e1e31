"""What crosses between the tasks of a Kubeflow pipeline: the steps' results as typed artifacts, written and read.

    Dataset                 JSON, what a table is; its metadata: URI, rows, fingerprint. The table stays where it lies
    Model                   a folder: `result.json`, the signed `bundle/`, and `evaluation.parquet`, the test's scores
    Metrics                 figures
    ClassificationMetrics   who was let through and who was not, by what they were
    HTML                    a page
    Artifact                a step's result as JSON

A model brings all that later tasks read of it, so a training that the cache answers is as good as one that ran.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops.errors import InputError, MlopsError
from mlops.quiet import telemetry_off
from mlops.settings import Settings, without_password
from mlops.storage import read_json, replace_file, write_json
from mlops.tables import EventTable, FeatureTable, read_event_table, read_feature_table
from monitoring.page import render_report
from monitoring.results import MonitorResult
from pipelines.conclusion import Conclusion
from pipelines.kubeflow_steps import fresh_day, not_in_loop, tried
from pipelines.parameters import day, effort
from pipelines.release import Release
from pipelines.staged import current
from pipelines.training_plan import TrainingPlan
from training.gate import Verdict
from training.results import TrainResult
from training.tasks.classification import ClassificationEvaluation

if TYPE_CHECKING:
    from kfp.dsl import (
        HTML,
        Artifact,
        ClassificationMetrics,
        Dataset,
        Metrics,
        Model,
    )

__all__ = [
    "day",
    "effort",
    "ended",
    "fresh_day",
    "keep_conclusion",
    "keep_events",
    "keep_features",
    "keep_look",
    "keep_release",
    "keep_result",
    "keep_trained",
    "keep_verdict",
    "told",
    "trained",
    "trainings",
    "tried",
    "verdicts",
]

RESULT, BUNDLE, EVALUATION = "result.json", "bundle", "evaluation.parquet"
PAGE = "evaluation.html"


@contextmanager
def told() -> Iterator[Settings]:
    """The settings of a step, which are the container's environment; an error becomes one line and an exit code."""
    telemetry_off()
    try:
        yield Settings.from_env()
    except MlopsError as error:
        print(f"mlops: {error.line()}", file=sys.stderr)
        sys.exit(error.exit_code)


def keep_result(artifact: Artifact, result: Any) -> None:
    """A step's result, as JSON."""
    write_json(Path(artifact.path), result)


def keep_events(artifact: Dataset, settings: Settings) -> None:
    """What the home's event table is."""
    table = current(settings.events, settings.events_uri)
    _keep_table(artifact, read_event_table(table), settings.events_uri or str(table))


def keep_features(artifact: Dataset, settings: Settings) -> None:
    """What the home's feature table is."""
    table = current(settings.features, settings.features_uri)
    _keep_table(artifact, read_feature_table(table), settings.features_uri or str(table))


def _keep_table(artifact: Dataset, table: EventTable | FeatureTable, uri: str) -> None:
    keep_result(artifact, table)
    artifact.metadata.update(table=without_password(uri), rows=table.rows, fingerprint=table.fingerprint)


def trainings(
    plan: TrainingPlan, table: Dataset, *, among: Sequence[str], besides: Sequence[str]
) -> list[dict[str, str]]:
    """A training of each candidate: its name, the first day, which may be empty, the features' fingerprint, its key.

    Args:
        table: the features that this run computed.
        among, besides: the candidates that the pipeline as compiled trains here, if any are named, and elsewhere.

    Raises:
        ConfigError: there is no candidate, and a loop over none leaves nothing to collect.
        InputError: others have changed the features since.
    """
    if plan.fingerprint != table.metadata["fingerprint"]:
        raise InputError(
            "are no longer those that this run computed",
            where="features",
            todo="one pipeline a home; run it again",
        )
    names = [name for name in plan.keys if name not in besides and (name in among or not among)]
    if not names:
        raise not_in_loop(plan.keys, accelerated=bool(among))
    pinned = {"first_day": plan.first_day, "fingerprint": plan.fingerprint}
    return [{"candidate": name, "key": plan.keys[name], **pinned} for name in names]


def keep_trained(
    model: Model, figures: Metrics, decided: ClassificationMetrics, page: HTML, result: TrainResult
) -> None:
    """A trained candidate with its bundle, the figures of its test, what was decided there, if anything, the report."""
    folder = Path(model.path)
    shutil.copytree(result.bundle, folder / BUNDLE, dirs_exist_ok=True)  # a first try may have left it
    shutil.copyfile(result.evaluation, folder / EVALUATION)
    write_json(folder / RESULT, result)
    model.framework = result.framework
    model.metadata.update(candidate=result.name, digest=result.digest, run_id=result.run_id)
    _keep_figures(figures, result.figures.metrics())
    if isinstance(result.figures, ClassificationEvaluation) and (cost := result.figures.cost) is not None:
        stopped = [sum(both) for both in zip(cost.reviewed, cost.declined, strict=True)]
        rows = [list(pair) for pair in zip(cost.approved, stopped, strict=True)]
        decided.log_confusion_matrix(["negative: approved", "positive: reviewed or declined"], rows)
    keep_result(decided, decided.metadata)
    with replace_file(Path(page.path)) as path:
        shutil.copyfile(folder / BUNDLE / PAGE, path)


def _keep_figures(artifact: Metrics, figures: Mapping[str, float | None]) -> None:
    """Those that there are; as a file too, without which the local runner's cache takes an artifact for lost."""
    for name, value in figures.items():
        if value is not None:
            artifact.log_metric(name, value)
    keep_result(artifact, artifact.metadata)


def trained(model: Model) -> TrainResult:
    """A trained candidate, with the bundle and the scores that the artifact holds.

    Raises:
        InputError: the artifact is none of `keep_trained`.
    """
    folder = Path(model.path)
    result = read_json(folder / RESULT, TrainResult)
    return msgspec.structs.replace(result, bundle=folder / BUNDLE, evaluation=folder / EVALUATION)


def keep_verdict(artifact: Artifact, figures: Metrics, verdict: Verdict) -> None:
    """The gate's verdict, and what each of its checks observed."""
    keep_result(artifact, verdict)
    observed = {check.name: check.observed for check in verdict.checks}
    _keep_figures(
        figures, {"admitted": float(verdict.admitted), "champion_figure": verdict.champion_figure, **observed}
    )


def verdicts(artifacts: Sequence[Artifact]) -> list[Verdict]:
    """The verdicts that `keep_verdict` kept.

    Raises:
        InputError: an artifact is none of them.
    """
    return [read_json(Path(artifact.path), Verdict) for artifact in artifacts]


def keep_release(artifact: Artifact, model: Model, release: Release, results: Sequence[TrainResult]) -> str:
    """What the gate said of all, and the bundle that it admitted; returns its version, or nothing."""
    keep_result(artifact, release)
    model.metadata.update(version=release.version or "", candidate=release.candidate or "")
    for result in results:
        if result.name == release.candidate:
            shutil.copytree(result.bundle, model.path, dirs_exist_ok=True)
            model.framework = result.framework
            model.metadata["digest"] = result.digest
    return release.version or ""


def keep_look(artifact: Artifact, figures: Metrics, page: HTML, look: MonitorResult) -> None:
    """What monitoring found, and its page."""
    keep_result(artifact, look)
    render_report(look, Path(page.path))
    period = look.performance.period
    found = {
        "alerts": float(len(look.alerts)),
        "retrain": float(look.request is not None),
        "drifted_share": look.drift.share if look.drift else None,
        "headline": period.headline.value if period and period.headline else None,
    }
    _keep_figures(figures, found)


def ended(state: str) -> str:
    """How a run ended, from what its exit handler is told: by the local runner SUCCEEDED, by a cluster COMPLETE.

    Clusters of before the summer of 2026 say RUNNING of every run with a loop (kubeflow/pipelines#13321).
    """
    return {"COMPLETE": "SUCCEEDED", "RUNNING": "UNKNOWN"}.get(state, state)


def keep_conclusion(artifact: Artifact, conclusion: Conclusion) -> None:
    """How the run ended, also as the last line that is printed."""
    keep_result(artifact, conclusion)
    print(conclusion.line)
