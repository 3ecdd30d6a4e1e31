"""What a training run is asked for, and what it gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mlops.contract import Effort
from mlops.errors import InputError
from mlops.settings import Settings
from mlops.spread import Spread
from training.tasks.classification import ClassificationEvaluation
from training.tasks.regression import RegressionEvaluation

__all__ = ["Evaluation", "TrainResult", "TrainSpec"]

Evaluation = ClassificationEvaluation | RegressionEvaluation


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to train. Pickles, so that each candidate can have a process of its own.

    Fields:
        settings: where things lie; names the use case.
        candidate: the name of one of the use case's candidates.
        features: the feature table.
        first_day: the first training day, ISO date; empty where the policy splits at random.
        seed: of the fit, the parity sample and the bootstrap.
        out: where the bundle and the evaluation go, in a folder named by candidate and first day.
        effort: how long to look for a good model: see `training.tune`.
        fingerprint: of the only feature table to train on; empty if whatever lies there will do.
    """

    settings: Settings
    candidate: str
    features: Path
    first_day: str
    seed: int
    out: Path
    effort: Effort = "quick"
    fingerprint: str = ""

    def expect(self, fingerprint: str) -> None:
        """Refuse a table that was read with another fingerprint.

        Raises:
            InputError: it is not the one to train on.
        """
        if self.fingerprint and fingerprint != self.fingerprint:
            raise InputError(
                "is no longer the table that was to be trained on",
                where=self.features,
                todo="begin a new run, which plans anew, and let no other change the features meanwhile",
            )


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Fields:
        figures: on the test events.
        onnx_max_abs_diff: as `training.parity` measures it.
        bundle, digest: the signed bundle and the digest over all its files.
        evaluation: Parquet, one row a test event: id, event_time, day, card, amount, as far as there are, label, score.
        evaluation_digest: its SHA-256.
        unlabelled: events left out because their label is not known.
        seconds: of the fit, without tuning and evaluation.
        params: what was trained with, tuned or declared.
        importance: what share of the scores' movement is each feature's: see `mlops.shapley`.
        spread: of the headline figure, over folds and seeds; None where only one model was trained.
        trained_until: the last day of training, ISO date; empty where events have no time.
        data_fingerprint: of the feature table; empty in results of earlier versions.
    """

    name: str
    framework: str
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
    evaluation_digest: str
    seconds: float
    effort: Effort = "quick"
    params: dict[str, Any] = {}
    importance: dict[str, float] = {}
    spread: Spread | None = None
    trained_until: str = ""
    data_fingerprint: str = ""
