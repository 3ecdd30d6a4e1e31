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
from mlops.contract import Candidate, UseCase, load_dotted, load_use_case
from mlops.model import Model
from mlops.policy import RandomSplit, Split
from mlops.reasons import choose_reference
from mlops.signing import ensure_keys
from mlops.storage import replace_file
from training import tracking
from training.card import CardFacts, model_card
from training.dataset import Dataset, parse_day
from training.parity import Parity, compare, fresh_sample
from training.results import Evaluation, TrainResult, TrainSpec
from training.split import Windows, load_windows
from training.tasks import task_for
from training.trainers import Place, trainer_for

__all__ = ["train_candidate"]

GOLDEN_ROWS = 32


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
    candidate = use_case.candidate(spec.candidate)
    features = use_case.features_of(candidate)
    split, gate, task = use_case.policy.split, use_case.policy.gate, task_for(use_case.task)
    data, windows = load_windows(spec.features, use_case, first_day=spec.first_day, features=features)
    examples = windows.examples
    task.check_labels(examples.labels)
    ensure_keys(spec.settings.keys, make=not spec.settings.signing_key)
    commit = tracking.git_commit()
    tags = {
        "candidate": candidate.name,
        "framework": candidate.framework,
        "seed": str(spec.seed),
        "features_digest": hashlib.sha256(msgspec.json.encode(features)).hexdigest(),
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
            examples,
            task=use_case.task,
            seed=spec.seed,
            place=Place(log=lambda *entry: history.append(entry)),
        )
        model = fitted.export()
        sample = fresh_sample(data.features[windows.test], gate.parity_rows, seed=spec.seed)
        scale = task.scale(examples.labels)
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
        train_events=len(windows.examples),
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
        features=use_case.features_of(candidate),
        schema=Schema(
            events=use_case.events, label=use_case.label, whole_number_ids=data.table.whole_number_ids
        ),
        decisions=decisions,
        golden=Golden(
            features=data.features[golden].tolist(),
            scores=scores[golden].tolist(),
            tolerance=use_case.policy.gate.parity_tolerance * max(scale, float(np.abs(scores[golden]).max())),
        ),
        reference=choose_reference(data.features[windows.test], scores[windows.test]).tolist(),
        card=model_card(spec.settings.usecase, use_case, candidate, facts, figures, decisions, parity),
        evaluation=msgspec.json.encode(figures),
        report="",
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
