"""Regression: how far predictions are off, and what they must be better than."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops import regression
from mlops.bundle import Decisions
from mlops.errors import InputError
from mlops.metrics import Interval
from mlops.policy import Gate, Policy
from mlops.schema import Label
from mlops.slices import Slice
from training.axes import Plot
from training.checks import Check, at_least, check
from training.dataset import Dataset
from training.split import Windows
from training.tasks import CardParts, Compared, Rows, Scores
from training.tasks.regression.evaluate import evaluate
from training.tasks.regression.figures import RegressionEvaluation
from training.tasks.regression.plots import draw
from training.tasks.regression.words import card_parts

__all__ = ["MIN_TRAIN_EVENTS", "TASK", "Regression", "RegressionEvaluation"]

MIN_TRAIN_EVENTS = 40


class Regression:
    """See `training.tasks.Task`."""

    def check_labels(self, labels: NDArray[Any]) -> None:
        if len(labels) < MIN_TRAIN_EVENTS:
            raise InputError(
                f"{len(labels)} labelled events are too few to train on",
                where="split",
                todo=f"at least {MIN_TRAIN_EVENTS} are needed",
            )
        if labels.min() == labels.max():
            raise InputError(
                f"all {len(labels):,} labels to train on are {labels[0]:g}",
                where="split",
                todo="choose events whose labels differ",
            )

    def scale(self, labels: NDArray[Any]) -> float:
        return float(np.sqrt(np.mean(np.square(labels))))

    def decide(self, scores: Scores, data: Dataset, windows: Windows, policy: Policy) -> Decisions | None:
        return None

    def evaluate(
        self,
        scores: Scores,
        data: Dataset,
        windows: Windows,
        decisions: Decisions | None,
        policy: Policy,
        *,
        seed: int,
        slices: Sequence[Slice] = (),
        details: Sequence[str] = (),
    ) -> RegressionEvaluation:
        return evaluate(scores, data, windows, policy, seed=seed, slices=slices)

    def checks(self, evaluation: RegressionEvaluation, gate: Gate, label: Label) -> list[Check]:
        rmse, constant = evaluation.rmse.value, evaluation.constant_gain
        gain = regression.gain(rmse, evaluation.baseline_rmse)
        return [
            at_least(
                "test_events",
                float(evaluation.events),
                float(gate.min_test_events),
                f"{evaluation.events:,} test events",
                f"at least {gate.min_test_events}",
            ),
            check(
                "constant",
                constant.low,
                gate.constant_margin,
                constant.low > gate.constant_margin,
                f"a root mean squared error of {rmse:.4g} where the {evaluation.constant} of the training labels has "
                f"{evaluation.constant_rmse:.4g}, {constant.value:+.1%} better with a {constant.confidence:.0%} "
                f"interval of {constant.low:+.1%} to {constant.high:+.1%}",
                f"a lower end above {gate.constant_margin:+.1%}",
            ),
            at_least(
                "baseline",
                gain,
                gate.baseline_margin,
                f"a root mean squared error of {rmse:.4g}, {gain:+.1%} better than the best single feature's "
                f"{evaluation.baseline_rmse:.4g} ({evaluation.baseline})",
                f"at least {gate.baseline_margin:+.1%}",
            ),
        ]

    def compare(
        self,
        evaluation: RegressionEvaluation,
        labels: NDArray[Any],
        scores: Scores,
        champion: Scores,
        data: Dataset,
        rows: Rows,
        gate: Gate,
        *,
        seed: int,
    ) -> Compared:
        gain = self.difference(labels, scores, champion, data, rows, gate, seed=seed)
        theirs = regression.rmse(labels, champion)
        fact = (
            f"a root mean squared error of {evaluation.rmse.value:.4g} against the champion's {theirs:.4g} on the same "
            f"{len(rows):,} events, {gain.value:+.1%} better with a {gate.confidence:.0%} interval of "
            f"{gain.low:+.1%} to {gain.high:+.1%}"
        )
        margin = gate.champion_margin
        return Compared(
            champion=theirs,
            check=check(
                "champion", gain.low, margin, gain.low > margin, fact, f"a lower end above {margin:+.1%}"
            ),
        )

    def difference(
        self,
        labels: NDArray[Any],
        scores: Scores,
        other: Scores,
        data: Dataset,
        rows: Rows,
        gate: Gate,
        *,
        seed: int,
    ) -> Interval:
        return regression.paired_rmse_gain(
            labels, scores, other, rounds=gate.bootstrap, confidence=gate.confidence, seed=seed
        )

    def card(self, evaluation: RegressionEvaluation, decisions: Decisions | None, label: Label) -> CardParts:
        return card_parts(evaluation, label)

    def plots(
        self, evaluation: RegressionEvaluation, decisions: Decisions | None, label: Label
    ) -> tuple[Plot, ...]:
        return draw(evaluation, label)


TASK = Regression()
