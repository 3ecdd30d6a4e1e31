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
from mlops.settings import Settings
from mlops.signing import ensure_keys
from mlops.storage import replace_file
from training import tracking
from training.card import CardFacts, model_card
from training.dataset import Dataset, load_dataset, parse_day
from training.evaluate import Evaluation, choose_thresholds, evaluate
from training.parity import Parity, compare, fresh_sample
from training.split import Windows, split_windows
from training.trainers import trainer_for

__all__ = ["TrainResult", "TrainSpec", "train_candidate"]

GOLDEN_ROWS = 32


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to train. Pickles, so that each candidate can have a process of its own.

    Fields:
        settings: where things lie; names the use case.
        candidate: the name of one of the use case's candidates.
        features: the feature table.
        first_day: the first training day, ISO date; the split follows from the policy.
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
    """What came of it. Figures are on the test days; `cp100` is card precision at the policy's `top_k`, if any.

    Fields:
        ap_low, ap_high: the bootstrap interval of `ap`.
        bundle, digest: the signed bundle and the digest of its manifest.
        evaluation: Parquet, one row a test event: id, event_time, day, card, amount, label, score.
        unlabelled: events of the windows left out because their label is not known.
    """

    name: str
    framework: Framework
    use_case: str
    first_day: str
    auc: float
    ap: float
    ap_low: float
    ap_high: float
    cp100: float | None
    cp100_oracle: float | None
    baseline: str
    baseline_ap: float
    cost: float
    cost_approve_all: float
    train_events: int
    train_frauds: int
    test_events: int
    test_frauds: int
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
        InputError: the data does not allow training: see `load_dataset` and `split_windows`.
        ParityError: the exported graph cannot be run. (A graph that differs is for the gate to refuse.)
        SetupError: the device is full.
    """
    started = time.perf_counter()
    use_case = load_use_case(spec.settings.usecase)
    candidate = _candidate(use_case, spec.candidate)
    split, gate = use_case.policy.split, use_case.policy.gate
    data = load_dataset(spec.features, use_case, first_day=spec.first_day, days=split.days)
    windows = split_windows(data, split)
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
        spec.settings, use_case.name, f"{candidate.name} {spec.first_day}", tags
    ) as run:
        history: list[tuple[str, float, int]] = []
        fit = trainer_for(candidate.framework)
        fitted = fit(
            load_dotted(candidate.builder),
            candidate.params,
            data.features[windows.train],
            data.label[windows.train],
            seed=spec.seed,
            log=lambda *entry: history.append(entry),
        )
        model = fitted.export()
        sample = fresh_sample(data.features[windows.test], gate.parity_rows, seed=spec.seed)
        parity = compare(fitted.predict, model, sample)
        scores = Model(model)(data.features)  # what is served is judged, not what it was exported from
        decisions = choose_thresholds(scores, data, windows, use_case.policy)
        evaluation = evaluate(scores, data, windows.test, decisions, use_case.policy, seed=spec.seed)

        folder = spec.out / f"{candidate.name}-{spec.first_day}"
        facts = _facts(spec, data, windows, use_case, run.info.run_id, commit)
        digest = _write_bundle(
            folder / "bundle", spec, use_case, candidate, facts, data, windows, model, scores, decisions,
            evaluation, parity,
        )  # fmt: skip
        _write_evaluation(folder / "evaluation.parquet", data, windows.test, scores)
        tracking.log_all(
            spec.settings,
            run,
            params={
                "builder": candidate.builder,
                "first_day": spec.first_day,
                "train_days": split.train_days,
                "delay_days": split.delay_days,
                "test_days": split.test_days,
                **candidate.params,
            },
            metrics=_metrics(evaluation)
            | {"onnx_max_abs_diff": parity.max_abs_diff, "train_frauds": facts.train_frauds},
            history=history,
            datasets=[
                tracking.dataset_input("features", spec.features, data.table.fingerprint, "training and test")
            ],
        )
        mlflow = tracking.client(spec.settings)
        mlflow.log_artifacts(run.info.run_id, str(folder / "bundle"), "bundle")
        mlflow.log_artifact(run.info.run_id, str(folder / "evaluation.parquet"))
    cards = evaluation.card_precision
    return TrainResult(
        name=candidate.name,
        framework=candidate.framework,
        use_case=use_case.name,
        first_day=spec.first_day,
        auc=evaluation.auc,
        ap=evaluation.ap.value,
        ap_low=evaluation.ap.low,
        ap_high=evaluation.ap.high,
        cp100=cards.value if cards else None,
        cp100_oracle=cards.oracle if cards else None,
        baseline=evaluation.baseline,
        baseline_ap=evaluation.baseline_ap,
        cost=evaluation.cost.total,
        cost_approve_all=evaluation.cost_approve_all,
        train_events=facts.train_events,
        train_frauds=facts.train_frauds,
        test_events=evaluation.events,
        test_frauds=evaluation.frauds,
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
    first, split = parse_day(spec.first_day), use_case.policy.split

    def span(start: int, days: int) -> str:
        return f"{first + timedelta(start)} to {first + timedelta(start + days - 1)}"

    return CardFacts(
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        seed=spec.seed,
        fingerprint=data.table.fingerprint,
        train_window=span(0, split.train_days),
        test_window=span(split.train_days + split.delay_days, split.test_days),
        train_events=len(windows.train),
        train_frauds=int(data.label[windows.train].sum()),
        unlabelled=windows.unlabelled,
        known_cards=windows.known_cards,
    )


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    figures = {
        "auc": evaluation.auc,
        "ap": evaluation.ap.value,
        "ap_low": evaluation.ap.low,
        "ap_high": evaluation.ap.high,
        "baseline_ap": evaluation.baseline_ap,
        "cost": evaluation.cost.total,
        "cost_approve_all": evaluation.cost_approve_all,
        "test_frauds": float(evaluation.frauds),
    }
    if (cards := evaluation.card_precision) is not None:
        figures |= {f"cp{cards.k}": cards.value, f"cp{cards.k}_oracle": cards.oracle}
    return figures


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
    decisions: Decisions,
    evaluation: Evaluation,
    parity: Parity,
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
            tolerance=use_case.policy.gate.parity_tolerance,
        ),
        card=model_card(spec.settings.usecase, use_case, candidate, facts, evaluation, decisions, parity),
        manifest={
            "name": use_case.name,
            "candidate": candidate.name,
            "framework": candidate.framework,
            "created_at": facts.created_at,
            "run_id": facts.run_id,
            "metrics": _metrics(evaluation),
        },
    )


def _write_evaluation(
    target: Path, data: Dataset, rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> None:
    columns = {
        "id": pa.array(data.ids[rows]),
        "event_time": pa.array(data.time_us[rows], pa.timestamp("us", "UTC")),
        "day": pa.array(data.day[rows]),
        "label": pa.array(data.label[rows]),
        "score": pa.array(scores[rows]),
    }
    if data.card is not None:
        columns["card"] = pa.array(data.card[rows])
    if data.amount is not None:
        columns["amount"] = pa.array(data.amount[rows])
    with replace_file(target) as path:
        pq.write_table(pa.table(columns), path)
