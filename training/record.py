"""What is kept of a training run: the signed bundle, the scores of the test events, and the run of MLflow."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlops.bundle import Decisions, Golden, Schema, write_bundle
from mlops.contract import Candidate, UseCase
from mlops.policy import RandomSplit, Split
from mlops.storage import replace_file
from training import tracking
from training.ablation import Ablated
from training.card import CardFacts, model_card
from training.dataset import Dataset, parse_day
from training.lineage import Lineage
from training.parity import Parity
from training.report import write_report
from training.results import Evaluation, TrainResult, TrainSpec
from training.split import Windows
from training.tune import Tuned

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["Trained", "evenly", "write_record"]

GOLDEN_ROWS = 32


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """A trained candidate, and all that was found out about it.

    Fields:
        candidate: with the parameters that it was trained with.
        model: the graph; `scores` are its own of each row of `data`.
        history: metrics by step: name, value, step.
        scale: how large a score is: see `Task.scale`.
        reference: typical rows [k, f], which explanations compare with.
        importance: each feature's share.
        ablation: what each group of features is worth; None where that was not looked into.
        seconds: of the fit alone.
    """

    use_case: UseCase
    candidate: Candidate
    data: Dataset
    windows: Windows
    lineage: Lineage
    tuned: Tuned
    history: list[tuple[str, float, int]]
    model: bytes
    scores: NDArray[np.float32]
    decisions: Decisions | None
    scale: float
    parity: Parity
    figures: Evaluation
    reference: NDArray[np.float32]
    importance: dict[str, float]
    ablation: tuple[Ablated, ...] | None
    seconds: float


def write_record(trained: Trained, spec: TrainSpec, run: Run) -> TrainResult:
    """Write and sign the bundle, write the scores beside it, and enter both into the run.

    Raises:
        ConfigError: there is no key to sign with.
        SetupError: the device is full.
    """
    folder = spec.out / "-".join(filter(None, (trained.candidate.name, spec.first_day)))
    data, windows, figures = trained.data, trained.windows, trained.figures
    facts = _facts(trained, spec, run.info.run_id)
    digest = _write_bundle(folder / "bundle", trained, spec, facts)
    evaluation = folder / "evaluation.parquet"
    _write_evaluation(evaluation, data, windows.test, trained.scores)
    tracking.log_all(
        spec.settings,
        run,
        params={
            "builder": trained.candidate.builder,
            "first_day": spec.first_day,
            **msgspec.structs.asdict(trained.use_case.policy.split),
            **trained.candidate.params,
        },
        metrics=figures.metrics()
        | {"onnx_max_abs_diff": trained.parity.max_abs_diff, "fit_seconds": trained.seconds},
        history=trained.history,
        datasets=[
            tracking.dataset_input("features", spec.features, data.table.fingerprint, "training and test")
        ],
    )
    mlflow = tracking.client(spec.settings)
    mlflow.log_artifacts(run.info.run_id, str(folder / "bundle"), "bundle")
    mlflow.log_artifact(run.info.run_id, str(evaluation))
    return TrainResult(
        name=trained.candidate.name,
        framework=trained.candidate.framework,
        use_case=trained.use_case.name,
        first_day=spec.first_day,
        figures=figures,
        unlabelled=windows.unlabelled,
        onnx_rows=trained.parity.rows,
        onnx_max_abs_diff=trained.parity.max_abs_diff,
        seed=spec.seed,
        run_id=run.info.run_id,
        bundle=folder / "bundle",
        digest=digest,
        evaluation=evaluation,
        evaluation_digest=hashlib.sha256(evaluation.read_bytes()).hexdigest(),
        seconds=trained.seconds,
        effort=spec.effort,
        params=trained.candidate.params,
        importance=trained.importance,
        spread=trained.tuned.spread,
        trained_until=_trained_until(trained.use_case.policy.split, spec.first_day),
        data_fingerprint=trained.lineage.data_fingerprint,
    )


def evenly(scores: NDArray[Any], count: int) -> NDArray[np.int64]:
    """At most `count` rows, evenly over the ranks of their scores, highest and lowest included.

    Drawn at random, most would score near nothing.
    """
    ranked = np.argsort(scores, kind="stable")
    return ranked[np.linspace(0, len(ranked) - 1, min(count, len(ranked))).astype(np.int64)]


def _trained_until(split: Split | RandomSplit, first_day: str) -> str:
    if isinstance(split, RandomSplit):
        return ""
    return str(parse_day(first_day) + timedelta(split.train_days - 1))


def _facts(trained: Trained, spec: TrainSpec, run_id: str) -> CardFacts:
    train_window, test_window = _windows(trained.use_case.policy.split, spec.first_day)
    return CardFacts(
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=trained.lineage.commit,
        seed=spec.seed,
        fingerprint=trained.lineage.data_fingerprint,
        first_day=spec.first_day,
        train_window=train_window,
        test_window=test_window,
        train_events=len(trained.windows.examples),
        test_events=len(trained.windows.test),
        unlabelled=trained.windows.unlabelled,
        known_cards=trained.windows.known_cards,
        packages_digest=trained.lineage.packages_digest,
        features_digest=trained.lineage.features_digest,
        effort=spec.effort,
        fit_seconds=trained.seconds,
        spread=trained.tuned.spread,
        importance=trained.importance,
        ablation=trained.ablation,
    )


def _windows(split: Split | RandomSplit, first_day: str) -> tuple[str, str]:
    """What was trained and tested on, in words."""
    if isinstance(split, RandomSplit):
        return f"{split.train:.0%}, drawn at random", f"{split.test:.0%}, drawn at random"
    first = parse_day(first_day)

    def span(start: int, days: int) -> str:
        return f"{first + timedelta(start)} to {first + timedelta(start + days - 1)}"

    return span(0, split.train_days), span(split.train_days + split.delay_days, split.test_days)


def _write_bundle(target: Path, trained: Trained, spec: TrainSpec, facts: CardFacts) -> str:
    use_case, candidate, data, figures = trained.use_case, trained.candidate, trained.data, trained.figures
    test = trained.windows.test
    golden = test[evenly(trained.scores[test], GOLDEN_ROWS)]
    highest = float(np.abs(trained.scores[golden]).max())
    told = (spec.settings.usecase, use_case, candidate, facts, figures, trained.decisions, trained.parity)
    evaluation, report = write_report(*told)
    return write_bundle(
        target,
        keys=spec.settings.keys,
        model=trained.model,
        features=use_case.features_of(candidate),
        schema=Schema(
            events=use_case.events, label=use_case.label, whole_number_ids=data.table.whole_number_ids
        ),
        decisions=trained.decisions,
        golden=Golden(
            features=data.features[golden].tolist(),
            scores=trained.scores[golden].tolist(),
            tolerance=use_case.policy.gate.parity_tolerance * max(trained.scale, highest),
        ),
        reference=trained.reference.tolist(),
        card=model_card(*told),
        evaluation=evaluation,
        report=report,
        manifest={
            "name": use_case.name,
            "candidate": candidate.name,
            "framework": candidate.framework,
            "created_at": facts.created_at,
            "run_id": facts.run_id,
            "trained_until": _trained_until(use_case.policy.split, spec.first_day),
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
