"""Choosing a candidate's parameters on validation folds, as long as the effort allows.

The declared parameters are the first trial, so what is chosen is never worse on the folds. Each trial is a run of
MLflow below the candidate's own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlops.contract import Candidate, Effort, UseCase, load_dotted
from mlops.metrics import average_precision
from mlops.regression import rmse
from mlops.schema import Task
from mlops.spread import Spread
from mlops.tables import read_feature_table
from training import tracking
from training.folds import Fold, load_folds
from training.lineage import code_digest
from training.results import TrainSpec
from training.study import Budget, Study, Trial, best_of, open_study
from training.trainers import Fit, Place, trainer_for

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["BUDGETS", "SEEDS", "Headline", "Tuned", "headline_of", "tune"]

BUDGETS: dict[Effort, Budget] = {
    "standard": Budget(trials=20, seconds=120),
    "full": Budget(trials=150, seconds=720),
}
SEEDS = 3


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """The figure of (labels, scores) that parameters are chosen by."""

    name: str
    larger_is_better: bool
    of: Callable[..., float]


_HEADLINES: dict[Task, Headline] = {
    "classification": Headline(name="ap", larger_is_better=True, of=average_precision),
    "regression": Headline(name="rmse", larger_is_better=False, of=rmse),
}


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen.

    Fields:
        params: the builder's and the trainer's, those that were declared and not tuned among them.
        metric: the name of the headline figure.
        value: its mean over the folds; None where nothing was tried.
        declared: the same with the declared parameters.
        trials, pruned: how many ended, and how many of these early.
        folds: the name of each fold, the latest first.
        spread: of the figure with the chosen parameters; None where nothing was tried.
        seconds: spent in trials, before a kill too.
    """

    params: dict[str, Any]
    metric: str
    value: float | None = None
    declared: float | None = None
    trials: int = 0
    pruned: int = 0
    folds: tuple[str, ...] = ()
    spread: Spread | None = None
    seconds: float = 0.0


def headline_of(task: Task) -> Headline:
    """The headline figure of a task."""
    return _HEADLINES[task]


def tune(spec: TrainSpec, candidate: Candidate, use_case: UseCase, *, effort: Effort, run: Run) -> Tuned:
    """Choose the parameters of a candidate; at effort quick they are the declared ones.

    Killed and called again with the same arguments it goes on from the trials that ended, and comes to the same
    result, unless the time limit cuts it at another trial. Trials are recorded as runs below `run`.

    Raises:
        InputError: the data have no room for a fold, or a fold cannot be learned from.
    """
    headline = headline_of(use_case.task)
    if effort == "quick":
        return Tuned(params=candidate.params, metric=headline.name)
    features = use_case.features_of(candidate)
    folds = load_folds(spec.features, use_case, first_day=spec.first_day, features=features)
    fit = trainer_for(candidate.framework)
    builder = load_dotted(candidate.builder)

    def measure(params: dict[str, Any], seed: int = spec.seed) -> Generator[float, None, None]:
        for fold in folds:
            yield _measure(fold, fit, builder, candidate.params | params, use_case.task, headline, seed)

    start = {name: candidate.params[name] for name in candidate.search}
    budget = BUDGETS[effort] if candidate.search else Budget(trials=1, seconds=0)
    name, identity = _identity(spec, candidate, use_case, folds, headline)
    with open_study(
        spec.settings.home / "tuning.db",
        name,
        candidate.search,
        start,
        larger_is_better=headline.larger_is_better,
        seed=spec.seed,
        lock=f"{use_case.name} {candidate.name}",
    ) as study:
        study.remember("identity", identity.decode())
        for trial in study.within(budget):
            _record(spec, run, trial, candidate, headline)
        for trial in study.run(measure, budget, len(folds)):
            _record(spec, run, trial, candidate, headline)
        trials = study.within(budget)
        best = best_of(trials, larger_is_better=headline.larger_is_better)
        spread = _spread(study, best, measure, spec.seed)
    assert best.value is not None and trials[0].value is not None
    tuned = Tuned(
        params=candidate.params | best.params,
        metric=headline.name,
        value=best.value,
        declared=trials[0].value,
        trials=len(trials),
        pruned=sum(trial.value is None for trial in trials),
        folds=tuple(fold.name for fold in folds),
        spread=spread,
        seconds=sum(trial.seconds for trial in trials),
    )
    _tell(spec, run, tuned, name)
    return tuned


def _measure(
    fold: Fold,
    fit: Fit,
    builder: Callable[..., Any],
    params: dict[str, Any],
    task: Task,
    headline: Headline,
    seed: int,
) -> float:
    fitted = fit(builder, params, fold.examples, task=task, seed=seed, place=Place(log=lambda *_: None))
    scores = fitted.predict(fold.features)
    return headline.of(fold.labels, scores) if np.isfinite(scores).all() else float("nan")


def _spread(
    study: Study, best: Trial, measure: Callable[..., Generator[float, None, None]], seed: int
) -> Spread:
    seeds = [best.value]
    for other in range(seed + 1, seed + SEEDS):
        value = study.remembered(f"trial {best.index}, seed {other}", partial(_mean, measure, best, other))
        seeds.append(value if math.isfinite(value) else None)
    return Spread(folds=best.folds, seeds=tuple(seeds))


def _mean(measure: Callable[..., Generator[float, None, None]], best: Trial, seed: int) -> float:
    """The mean over the folds with another seed; not finite where the fit diverges."""
    return float(np.mean(list(measure(best.params, seed))))


def _identity(
    spec: TrainSpec,
    candidate: Candidate,
    use_case: UseCase,
    folds: list[Fold],
    headline: Headline,
) -> tuple[str, bytes]:
    """The name of a study, and all that would make its trials wrong if it were otherwise, as JSON."""
    fingerprint = read_feature_table(spec.features).fingerprint
    spec.expect(fingerprint)  # after the folds were read of it
    identity = msgspec.json.encode(
        {
            "data": fingerprint,
            "features": use_case.features_of(candidate),
            "label": use_case.label,
            "card": use_case.card,
            "split": use_case.policy.split,
            "first_day": spec.first_day,
            "folds": [fold.name for fold in folds],
            "framework": candidate.framework,
            "builder": candidate.builder,
            "params": candidate.params,
            "search": candidate.search,
            "code": code_digest(spec.settings.usecase, candidate),
            "metric": headline.name,
            "seed": spec.seed,
        }
    )
    digest = hashlib.sha256(identity).hexdigest()[:16]
    return " ".join(filter(None, (use_case.name, candidate.name, spec.first_day, digest))), identity


def _record(spec: TrainSpec, run: Run, trial: Trial, candidate: Candidate, headline: Headline) -> None:
    mlflow = tracking.client(spec.settings)
    begun, ended = (int(moment.timestamp() * 1000) for moment in (trial.begun, trial.ended))
    child = mlflow.create_run(
        run.info.experiment_id,
        start_time=begun,
        run_name=f"{candidate.name} trial {trial.index}",
        tags={
            "mlflow.parentRunId": run.info.run_id,
            "candidate": candidate.name,
            "trial": str(trial.index),
            "trial_state": "pruned" if trial.value is None else "complete",
        },
    )
    whole = {} if trial.value is None else {headline.name: trial.value}
    tracking.log_all(
        spec.settings,
        child,
        params=candidate.params | trial.params,
        metrics={"seconds": trial.seconds, **whole},
        history=[(f"{headline.name}_fold", value, step) for step, value in enumerate(trial.folds)],
        datasets=[],
    )
    mlflow.set_terminated(child.info.run_id, "FINISHED", ended)


def _tell(spec: TrainSpec, run: Run, tuned: Tuned, study: str) -> None:
    """Say in the candidate's own run what came of it."""
    assert tuned.spread is not None and tuned.value is not None and tuned.declared is not None
    folds, seeds = tuned.spread.folds, tuned.spread.seeds
    tracking.log_all(
        spec.settings,
        run,
        params={},
        metrics={
            "tuning_value": tuned.value,
            "tuning_declared": tuned.declared,
            "tuning_trials": tuned.trials,
            "tuning_pruned": tuned.pruned,
            "tuning_seconds": tuned.seconds,
        },
        history=[("tuning_fold", value, step) for step, value in enumerate(folds)]
        + [("tuning_seed", value, step) for step, value in enumerate(seeds) if value is not None],
        datasets=[],
    )
    tracking.client(spec.settings).set_tag(run.info.run_id, "tuning_study", study)
