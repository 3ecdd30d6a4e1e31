"""From a feature table to a signed bundle: one candidate, one MLflow run."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.bundle import Decisions, Golden, Schema, write_bundle
from mlops.contract import Candidate, Framework, UseCase, load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.model import Model
from mlops.policy import RandomSplit, Split
from mlops.settings import Settings
from mlops.signing import ensure_keys
from mlops.storage import replace_file
from training import tracking
from training.card import CardFacts, model_card
from training.dataset import Dataset, load_dataset, parse_day
from training.parity import Parity, compare, fresh_sample
from training.split import Windows, split_windows
from training.tasks import task_for
from training.tasks.classification import ClassificationEvaluation
from training.tasks.regression import RegressionEvaluation
from training.trainers import trainer_for

__all__ = ["Evaluation", "TrainResult", "TrainSpec", "train_candidate"]

Evaluation = ClassificationEvaluation | RegressionEvaluation

GOLDEN_ROWS = 32


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to train. Pickles, so that each candidate can have a process of its own.

    Fields:
        settings: where things lie; names the use case.
        candidate: the name of one of the use case's candidates.
        features: the feature table.
        first_day: the first training day, ISO date; empty where the policy splits at random.
        seed: of the fit, the parity sample and the bootstrap.
        out: where the bundle and the evaluation go, in a folder named by candidate and first day.
    """

    settings: Settings
    candidate: str
    features: Path
    first_day: str
    seed: int
    out: Path


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Fields:
        figures: on the test events.
        onnx_max_abs_diff: as `training.parity` measures it.
        bundle, digest: the signed bundle and the digest of its manifest.
        evaluation: Parquet, one row a test event: id, event_time, day, card, amount, as far as there are, label, score.
        unlabelled: events left out because their label is not known.
    """

    name: str
    framework: Framework
    use_case: str
    first_day: str
    figures: Evaluation
    unlabelled: int
    onnx_rows: int
    onnx_max_abs_diff: float
    seed: int
    run_id: str
    bundle: Path
    digest: str
    evaluation: Path
    seconds: float


def train_candidate(spec: TrainSpec) -> TrainResult:
    """Train, export, compare, evaluate, sign and record one candidate.

    Raises:
        ConfigError: no such candidate or builder, or no key pair to sign with.
        InputError: the data does not allow training: see `load_dataset`, `split_windows` and `Task.check_labels`.
        ParityError: the exported graph cannot be run. (A graph that differs is for the gate to refuse.)
        SetupError: the device is full.
    """
    started = time.perf_counter()
    use_case = load_use_case(spec.settings.usecase)
    candidate = _candidate(use_case, spec.candidate)
    split, gate, task = use_case.policy.split, use_case.policy.gate, task_for(use_case.task)
    days = split.days if isinstance(split, Split) else 0
    data = load_dataset(spec.features, use_case, first_day=spec.first_day, days=days)
    windows = split_windows(data, split)
    task.check_labels(data.label[windows.train])
    ensure_keys(spec.settings.keys, make=not spec.settings.signing_key)
    commit = tracking.git_commit()
    tags = {
        "candidate": candidate.name,
        "framework": candidate.framework,
        "seed": str(spec.seed),
        "features_digest": hashlib.sha256(msgspec.json.encode(use_case.features)).hexdigest(),
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }
    with tracking.tracked_run(
        spec.settings, use_case.name, f"{candidate.name} {spec.first_day}".strip(), tags
    ) as run:
        history: list[tuple[str, float, int]] = []
        fit = trainer_for(candidate.framework)
        fitted = fit(
            load_dotted(candidate.builder),
            candidate.params,
            data.features[windows.train],
            data.label[windows.train],
            task=use_case.task,
            seed=spec.seed,
            log=lambda *entry: history.append(entry),
        )
        model = fitted.export()
        sample = fresh_sample(data.features[windows.test], gate.parity_rows, seed=spec.seed)
        scale = task.scale(data.label[windows.train])
        parity = compare(fitted.predict, model, sample, scale=scale)
        scores = Model(model)(data.features)  # what is served is judged, not what it was exported from
        decisions = task.decide(scores, data, windows, use_case.policy)
        figures = task.evaluate(scores, data, windows, decisions, use_case.policy, seed=spec.seed)

        folder = spec.out / "-".join(filter(None, (candidate.name, spec.first_day)))
        facts = _facts(spec, data, windows, use_case, run.info.run_id, commit)
        digest = _write_bundle(
            folder / "bundle", spec, use_case, candidate, facts, data, windows, model, scores, decisions,
            figures, parity, scale,
        )  # fmt: skip
        _write_evaluation(folder / "evaluation.parquet", data, windows.test, scores)
        tracking.log_all(
            spec.settings,
            run,
            params={
                "builder": candidate.builder,
                "first_day": spec.first_day,
                **msgspec.structs.asdict(split),
                **candidate.params,
            },
            metrics=figures.metrics() | {"onnx_max_abs_diff": parity.max_abs_diff},
            history=history,
            datasets=[
                tracking.dataset_input("features", spec.features, data.table.fingerprint, "training and test")
            ],
        )
        mlflow = tracking.client(spec.settings)
        mlflow.log_artifacts(run.info.run_id, str(folder / "bundle"), "bundle")
        mlflow.log_artifact(run.info.run_id, str(folder / "evaluation.parquet"))
    return TrainResult(
        name=candidate.name,
        framework=candidate.framework,
        use_case=use_case.name,
        first_day=spec.first_day,
        figures=figures,
        unlabelled=windows.unlabelled,
        onnx_rows=parity.rows,
        onnx_max_abs_diff=parity.max_abs_diff,
        seed=spec.seed,
        run_id=run.info.run_id,
        bundle=folder / "bundle",
        digest=digest,
        evaluation=folder / "evaluation.parquet",
        seconds=time.perf_counter() - started,
    )


def _candidate(use_case: UseCase, name: str) -> Candidate:
    for candidate in use_case.candidates:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in use_case.candidates)
    raise ConfigError(f"no candidate {name!r}", where=use_case.name, todo=f"choose one of {names}")


def _facts(
    spec: TrainSpec, data: Dataset, windows: Windows, use_case: UseCase, run_id: str, commit: str
) -> CardFacts:
    train_window, test_window = _windows(use_case.policy.split, spec.first_day)
    return CardFacts(
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        seed=spec.seed,
        fingerprint=data.table.fingerprint,
        first_day=spec.first_day,
        train_window=train_window,
        test_window=test_window,
        train_events=len(windows.train),
        test_events=len(windows.test),
        unlabelled=windows.unlabelled,
        known_cards=windows.known_cards,
    )


def _windows(split: Split | RandomSplit, first_day: str) -> tuple[str, str]:
    """What was trained and tested on, in words."""
    if isinstance(split, RandomSplit):
        return f"{split.train:.0%}, drawn at random", f"{split.test:.0%}, drawn at random"
    first = parse_day(first_day)

    def span(start: int, days: int) -> str:
        return f"{first + timedelta(start)} to {first + timedelta(start + days - 1)}"

    return span(0, split.train_days), span(split.train_days + split.delay_days, split.test_days)


def _write_bundle(
    target: Path,
    spec: TrainSpec,
    use_case: UseCase,
    candidate: Candidate,
    facts: CardFacts,
    data: Dataset,
    windows: Windows,
    model: bytes,
    scores: NDArray[np.float32],
    decisions: Decisions | None,
    figures: Evaluation,
    parity: Parity,
    scale: float,
) -> str:
    # Evenly over the ranks, the highest and the lowest score included: most rows would score near nothing otherwise.
    ranked = windows.test[np.argsort(scores[windows.test], kind="stable")]
    golden = ranked[np.linspace(0, len(ranked) - 1, min(GOLDEN_ROWS, len(ranked))).astype(np.int64)]
    return write_bundle(
        target,
        keys=spec.settings.keys,
        model=model,
        features=use_case.features,
        schema=Schema(
            events=use_case.events, label=use_case.label, whole_number_ids=data.table.whole_number_ids
        ),
        decisions=decisions,
        golden=Golden(
            features=data.features[golden].tolist(),
            scores=scores[golden].tolist(),
            tolerance=use_case.policy.gate.parity_tolerance * max(scale, float(np.abs(scores[golden]).max())),
        ),
        card=model_card(spec.settings.usecase, use_case, candidate, facts, figures, decisions, parity),
        manifest={
            "name": use_case.name,
            "candidate": candidate.name,
            "framework": candidate.framework,
            "created_at": facts.created_at,
            "run_id": facts.run_id,
            "metrics": figures.metrics(),
        },
    )


def _write_evaluation(
    target: Path, data: Dataset, rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> None:
    columns = {
        "id": pa.array(data.ids[rows]),
        "label": pa.array(data.label[rows]),
        "score": pa.array(scores[rows]),
    }
    if data.time_us is not None and data.day is not None:
        columns["event_time"] = pa.array(data.time_us[rows], pa.timestamp("us", "UTC"))
        columns["day"] = pa.array(data.day[rows])
    if data.card is not None:
        columns["card"] = pa.array(data.card[rows])
    if data.amount is not None:
        columns["amount"] = pa.array(data.amount[rows])
    with replace_file(target) as path:
        pq.write_table(pa.table(columns), path)
