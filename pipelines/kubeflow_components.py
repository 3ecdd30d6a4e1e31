"""The lifecycle's steps as components of Kubeflow Pipelines.

Kubeflow takes the source of each function, and nothing around it, into the pipeline; so what a body needs it imports.
Each calls one step, in the container's environment, and keeps what came of it. Annotations are read when the module is
imported, and so are no strings.
"""

from typing import Any

from kfp import dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    Metrics,
    Model,
    Output,
    PipelineTaskFinalStatus,
)

__all__ = [
    "IMAGE",
    "conclude",
    "features",
    "fill_store",
    "ingest",
    "judge",
    "monitor",
    "plan",
    "promote",
    "register",
    "train",
]

IMAGE = "mlops-pipeline:local"

_component: Any = dsl.component(base_image=IMAGE, install_kfp_package=False)  # the image holds kfp


@_component
def ingest(
    source: str, as_of: str, force: bool, events: Output[Dataset], validation: Output[Artifact]
) -> None:
    """Validate the files at `source` that are new, and merge their good rows into the event table.

    Freshness is judged as of the day `as_of`, which may be `today`; of none if empty.
    """
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        result = lifecycle.ingest(settings, source, as_of=artifacts.fresh_day(as_of), force=force)
        artifacts.keep_result(validation, result)
        artifacts.keep_events(events, settings)


@_component
def features(events: Input[Dataset], table: Output[Dataset]) -> None:
    """Compute the features of the days that something new touches."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        lifecycle.update_features(settings)
        artifacts.keep_features(table, settings)


@_component
def plan(
    table: Input[Dataset],
    train_from: str,
    effort: str,
    only: list[str],
    seed: int,
    among: list[str],
    besides: list[str],
) -> list[dict[str, str]]:
    """What is to be trained, on which days, and of which features: see `kubeflow_artifacts.trainings`.

    These are the candidates that are worth the effort, or `only` these; of them those `among` some, if any are named,
    and not those `besides`.
    """
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        day, worth = artifacts.day(train_from), artifacts.effort(effort)
        planned = lifecycle.plan(settings, train_from=day, only=only, effort=worth, seed=seed)
        return artifacts.trainings(planned, table, among=among, besides=besides)


@_component
def train(
    candidate: str,
    first_day: str,
    fingerprint: str,
    key: str,
    effort: str,
    seed: int,
    model: Output[Model],
    figures: Output[Metrics],
    decided: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Train, test and sign one candidate, on the feature table with this fingerprint. The cache knows it by `key`."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        day, worth = artifacts.day(first_day), artifacts.effort(effort)
        result = artifacts.tried(lifecycle.train_one)(
            settings, candidate, day, fingerprint=fingerprint, seed=seed, effort=worth
        )
        artifacts.keep_trained(model, figures, decided, report, result)


@_component
def judge(model: Input[Model], verdict: Output[Artifact], figures: Output[Metrics]) -> None:
    """Hold a candidate against the gate, and against the champion on the same events."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        outcome = artifacts.tried(lifecycle.judge)(settings, artifacts.trained(model))
        artifacts.keep_verdict(verdict, figures, outcome)


@_component
def register(
    models: Input[list[Model]],
    verdicts: Input[list[Artifact]],
    release: Output[Artifact],
    model: Output[Model],
    more_models: Input[list[Model]] | None = None,
    more_verdicts: Input[list[Artifact]] | None = None,
) -> str:
    """Enter all candidates into the registry; returns the version of the best that was admitted, or nothing."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        results = [artifacts.trained(one) for one in [*models, *(more_models or [])]]
        judged = artifacts.verdicts([*verdicts, *(more_verdicts or [])])
        outcome = lifecycle.register(settings, results, judged)
        return artifacts.keep_release(release, model, outcome, results)


@_component
def fill_store(version: str, result: Output[Artifact]) -> None:
    """Give the online store the history that a version's features look back on."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        artifacts.keep_result(result, lifecycle.fill_store(settings, version))


@_component
def promote(version: str, deployment: Output[Artifact]) -> None:
    """Make a version the champion, which serving follows."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        artifacts.keep_result(deployment, lifecycle.promote(settings, version))


@_component
def monitor(
    as_of: str, against: str, look: Output[Artifact], figures: Output[Metrics], report: Output[HTML]
) -> None:
    """Drift and performance of what was served in the week before `as_of`, which is today if empty."""
    from datetime import UTC, datetime

    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        today = artifacts.day(as_of) or datetime.now(UTC).date()
        outcome = lifecycle.monitor(settings, as_of=today, against=artifacts.day(against))
        artifacts.keep_look(look, figures, report, outcome)


@_component
def conclude(status: PipelineTaskFinalStatus, conclusion: Output[Artifact]) -> None:
    """Say how the run ended, whatever happened, and what the home holds since."""
    from pipelines import kubeflow_artifacts as artifacts
    from pipelines import lifecycle

    with artifacts.told() as settings:
        run, state = status.pipeline_job_resource_name, artifacts.ended(status.state)
        outcome = lifecycle.conclude(settings, run=run, state=state, error=status.error_message or "")
        artifacts.keep_conclusion(conclusion, outcome)
