"""Evidence of a candidate and a champion on drawn events, to be changed by the tests of the rules."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlops.bundle import Bundle, Golden, Manifest, Schema
from mlops.contract import UseCase
from mlops.features import FeatureSet, Value
from mlops.policy import Gate, Policy, RandomSplit
from mlops.schema import Column, EventSchema, Label
from mlops.slices import Slice, cut
from mlops.tables import FeatureTable
from tests.training.example import USE_CASE as MACHINES
from tests.training.test_onnx_graph import graph
from training.dataset import Dataset
from training.evidence import Champion, Evidence
from training.examples import ArrayExamples
from training.onnx_graph import serving_graph
from training.results import TrainResult
from training.slicing import columns_of
from training.split import Windows
from training.tasks import task_for

__all__ = ["EVENTS", "classified", "drawn", "gate", "measured", "with_champion"]

EVENTS = 4_000
SLICES = (Slice(name="load", feature="load", bands=(0.5,), labels=("low", "high")),)
NAMES = ("load", "rpm")
RIVETS = UseCase(
    name="rivets",
    title="How long rivets hold",
    events=EventSchema(
        id="rivet",
        numbered=True,
        columns=(
            Column(name="rivet", type="id"),
            *(Column(name=name, type="float") for name in NAMES),
            Column(name="hours", type="float", nullable=True),
        ),
    ),
    label=Label(column="hours"),
    features=FeatureSet(tuple(Value(column=name) for name in NAMES)),
    candidates=MACHINES.candidates,
    policy=Policy(split=RandomSplit()),
    slices=SLICES,
)


def gate(evidence: Evidence, **limits: Any) -> Evidence:
    """The same under a gate with other limits."""
    policy = msgspec.structs.replace(evidence.use_case.policy, gate=Gate(**limits))
    return msgspec.structs.replace(
        evidence, use_case=msgspec.structs.replace(evidence.use_case, policy=policy)
    )


def drawn(seed: int = 0, *, rate: float = 0.05) -> tuple[Dataset, np.ndarray]:
    """Events of 7 days on 900 cards with two features in [0, 1], and the probability of each to be a failure."""
    rng = np.random.default_rng(seed)
    features = rng.random((EVENTS, 2)).astype(np.float32)
    odds = np.exp(6 * features[:, 1] - 3) * rate
    probability = (odds / (1 + odds)).astype(np.float64)
    data = Dataset(
        ids=np.arange(EVENTS),
        time_us=None,
        day=np.sort(rng.integers(0, 7, EVENTS)),
        label=(rng.random(EVENTS) < probability).astype(np.int8),
        features=features,
        names=NAMES,
        card=rng.integers(0, 900, EVENTS),
        amount=None,
        table=FeatureTable(
            rows=EVENTS,
            unlabelled=0,
            features=RIVETS.features,
            events=(),
            whole_number_ids=(),
            fingerprint="drawn",
        ),
    )
    return data, probability


def classified(folder: Path, scores: np.ndarray | None = None, **changes: Any) -> Evidence:
    """A classifier's, whose scores are the true probabilities unless given; `changes` are of its run."""
    data, probability = drawn()
    use_case = msgspec.structs.replace(MACHINES, slices=SLICES)
    return _evidence(folder, use_case, data, probability if scores is None else scores, changes)


def measured(folder: Path, predictions: np.ndarray | None = None, **changes: Any) -> Evidence:
    """A regression's, whose predictions are the true means unless given."""
    data, probability = drawn()
    hours = 100 + 500 * probability
    labels = hours + np.random.default_rng(1).normal(0, 20, EVENTS)
    data = msgspec.structs.replace(data, label=labels, day=None, card=None)
    return _evidence(folder, RIVETS, data, hours if predictions is None else predictions, changes)


def with_champion(evidence: Evidence, scores: np.ndarray) -> Evidence:
    """The same beside a champion with these scores."""
    data = drawn()[0] if evidence.use_case is not RIVETS else msgspec.structs.replace(drawn()[0], card=None)
    rows = np.arange(EVENTS)
    theirs = scores.astype(np.float32)
    use_case = evidence.use_case
    compared = task_for(use_case.task).compare(
        evidence.result.figures, evidence.labels, evidence.scores, theirs, data, rows, use_case.policy.gate, seed=0
    )  # fmt: skip
    parts = cut(use_case.slices, columns_of(data, rows))
    champion = Champion(
        trained_until="",
        digest="champion",
        compared=compared,
        scores=theirs,
        data=data,
        rows=rows,
        slices=tuple(parts),
    )
    return msgspec.structs.replace(evidence, champion=champion)


def _evidence(
    folder: Path, use_case: UseCase, data: Dataset, scores: np.ndarray, changes: dict[str, Any]
) -> Evidence:
    rows, single = np.arange(EVENTS), scores.astype(np.float32)
    examples = ArrayExamples(data.features, data.label)
    windows = Windows(examples=examples, train=rows, wait=rows[:0], test=rows, unlabelled=0)
    figures = task_for(use_case.task).evaluate(single, data, windows, None, use_case.policy, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    model = serving_graph(graph())
    (folder / "model.onnx").write_bytes(model)
    fields: dict[str, Any] = {
        "name": "trees",
        "framework": "scikit-learn",
        "use_case": use_case.name,
        "first_day": "2018-05-08",
        "figures": figures,
        "unlabelled": 0,
        "onnx_rows": 10_000,
        "onnx_max_abs_diff": 3e-7,
        "seed": 0,
        "run_id": "r1",
        "bundle": folder,
        "digest": "candidate",
        "evaluation": folder / "evaluation.parquet",
        "evaluation_digest": "",
        "seconds": 1.0,
        "importance": {"load": 0.3, "rpm": 0.7},
        "trained_until": "2018-05-10",
    }
    bundle = Bundle(
        path=folder,
        digest="candidate",
        manifest=Manifest(name="m", candidate="trees", framework="", created_at="", run_id="r1"),
        model=model,
        features=use_case.features,
        schema=Schema(events=use_case.events, label=use_case.label),
        decisions=None,
        golden=Golden(features=data.features[:8].tolist(), scores=[0.0] * 8),
        reference=[],
        card="",
    )
    return Evidence(
        result=TrainResult(**{**fields, **changes}),
        use_case=use_case,
        labels=data.label,
        scores=single,
        bundle=bundle,
        newest=date(2018, 5, 15) if use_case.events.time else None,
    )
