"""From a feature table to a signed bundle: one candidate, one MLflow run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.contract import Candidate, UseCase, load_dotted, load_use_case
from mlops.errors import InputError
from mlops.model import Model
from mlops.policy import Split
from mlops.reasons import choose_reference
from mlops.settings import Settings
from mlops.shapley import Explainer
from mlops.signing import ensure_keys
from training import tracking
from training.ablation import Ablated, ablate
from training.calibration import fit_calibration
from training.dataset import Dataset
from training.lineage import code_digest, lineage_of
from training.parity import compare, fallbacks, fresh_sample
from training.record import Trained, evenly, write_record
from training.results import TrainResult, TrainSpec
from training.split import Windows, load_windows
from training.tasks import task_for
from training.trainers import Place, trainer_for
from training.tune import tune

__all__ = ["keys_to_sign_with", "train_candidate"]

EXPLAINED_ROWS = 256  # of the test events, for the global importance

Floats = NDArray[np.float32]


def train_candidate(spec: TrainSpec) -> TrainResult:
    """Tune, train, calibrate, export, compare, evaluate, explain, sign and record one candidate.

    Raises:
        ConfigError: no such candidate or builder, or no key pair to sign with.
        InputError: the data does not allow training: see `load_windows`, `tune` and `Task.check_labels`.
        ParityError: the exported graph cannot be run. (A graph that differs is for the gate to refuse.)
        SetupError: the device is full.
    """
    use_case = load_use_case(spec.settings.usecase)
    candidate = use_case.candidate(spec.candidate)
    features = use_case.features_of(candidate)
    if isinstance(use_case.policy.split, Split) != bool(spec.first_day):
        raise InputError(
            "events are split by day" if not spec.first_day else "events are split at random, not by day",
            where="first day",
            todo="name the first day of training" if not spec.first_day else "name none",
        )
    policy, task = use_case.policy, task_for(use_case.task)
    data, windows = load_windows(spec.features, use_case, first_day=spec.first_day, features=features)
    spec.expect(data.table.fingerprint)
    task.check_labels(windows.examples.labels)
    keys_to_sign_with(spec.settings)
    lineage = lineage_of(features, data.table.fingerprint, spec.seed)
    name = " ".join(filter(None, (candidate.name, spec.first_day)))
    tags = {
        "candidate": candidate.name,
        "framework": candidate.framework,
        "effort": spec.effort,
        **lineage.tags(),
    }
    with tracking.tracked_run(spec.settings, use_case.name, name, tags) as run:
        tuned = tune(spec, candidate, use_case, effort=spec.effort, run=run)
        candidate = msgspec.structs.replace(candidate, params=tuned.params)
        history: list[tuple[str, float, int]] = []
        checkpoints = spec.settings.home / "checkpoints" / f"{use_case.name} {name} {spec.seed}"
        place = Place(
            log=lambda *entry: history.append(entry),
            checkpoints=checkpoints,
            code=code_digest(spec.settings.usecase, candidate),
        )
        started = time.perf_counter()
        predict, model = _fit(spec, use_case, candidate, data, windows, place)
        seconds = time.perf_counter() - started
        score = Model(model)
        scores = score(data.features)  # what is served is judged, not what it was exported from
        decisions = task.decide(scores, data, windows, policy)
        scale = task.scale(windows.examples.labels)
        tested, judged = data.features[windows.test], scores[windows.test]
        sample = fresh_sample(
            tested,
            policy.gate.parity_rows,
            seed=spec.seed,
            graph=model,
            thresholds=(decisions.review_at, decisions.decline_at) if decisions else (),
            missing=fallbacks(features),
        )
        reference = choose_reference(tested, judged)
        shares = Explainer(score, reference).importance(tested[evenly(judged, EXPLAINED_ROWS)])
        trained = Trained(
            use_case=use_case,
            candidate=candidate,
            data=data,
            windows=windows,
            lineage=lineage,
            tuned=tuned,
            history=history,
            model=model,
            scores=scores,
            decisions=decisions,
            scale=scale,
            parity=compare(predict, model, sample, scale=scale),
            figures=task.evaluate(
                scores,
                data,
                windows,
                decisions,
                policy,
                seed=spec.seed,
                slices=use_case.slices,
                details=use_case.label.details,
            ),
            reference=reference,
            importance=dict(zip(data.names, shares.tolist(), strict=True)),
            ablation=_ablate(spec, use_case, candidate, data, windows, scores, place),
            seconds=seconds,
        )
        result = write_record(trained, spec, run)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return result


def keys_to_sign_with(settings: Settings) -> None:
    """See to it that there is a key pair; one is made only where a home signs its first bundle with its own.

    Raises:
        ConfigError: there is none, or what is there is no pair.
    """
    # New keys would leave a champion behind that nobody can verify any more.
    ensure_keys(settings.keys, make=not (settings.signing_key or settings.pointer.exists()))


def _fit(
    spec: TrainSpec, use_case: UseCase, candidate: Candidate, data: Dataset, windows: Windows, place: Place
) -> tuple[Callable[[Floats], Floats], bytes]:
    """The fitted candidate, calibrated if it is to be: what predicts in its framework, and the graph."""
    fitted = trainer_for(candidate.framework)(
        load_dotted(candidate.builder),
        candidate.params,
        windows.examples,
        task=use_case.task,
        seed=spec.seed,
        place=place,
    )
    predict, model = fitted.predict, fitted.export()
    if not candidate.calibration:
        return predict, model
    rows = windows.wait
    calibrate = fit_calibration(predict(data.features[rows]), data.label[rows], candidate.calibration)
    return lambda features: calibrate(predict(features)), calibrate.append(model)


def _ablate(
    spec: TrainSpec,
    use_case: UseCase,
    candidate: Candidate,
    data: Dataset,
    windows: Windows,
    scores: Floats,
    place: Place,
) -> tuple[Ablated, ...] | None:
    """At effort quick there is no time to fit the candidate several times more."""
    if spec.effort == "quick":
        return None
    silent = msgspec.structs.replace(place, log=lambda *_: None)
    return ablate(use_case, candidate, data, windows, scores, seed=spec.seed, place=silent)
