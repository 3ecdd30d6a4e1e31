"""Regression: how far predictions are off, and what they must be better than."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops import regression
from mlops.bundle import Decisions
from mlops.errors import InputError
from mlops.metrics import Interval
from mlops.policy import Gate, Policy
from mlops.schema import Label
from training.checks import Check, at_least, check
from training.dataset import Dataset
from training.split import Windows
from training.tasks import CardParts, Compared, Rows, Scores

__all__ = ["MIN_TRAIN_EVENTS", "TASK", "Regression", "RegressionEvaluation"]

MIN_TRAIN_EVENTS = 40


class RegressionEvaluation(msgspec.Struct, frozen=True, kw_only=True, tag="regression"):
    """The figures of predictions on the test rows, in the label's unit.

    Fields:
        events, train_events: how many.
        mean, train_mean: of the labels.
        rmse: root mean squared error, with a bootstrap interval.
        r2, mape: None where they are not defined.
        constant, constant_rmse: the better of the training labels' mean and median, predicted for every event.
        constant_gain: by what share of `constant_rmse` the model errs less, with a paired bootstrap interval.
        baseline, baseline_rmse: the single feature whose line through the training rows errs least on the test rows.
    """

    events: int
    train_events: int
    mean: float
    train_mean: float
    rmse: Interval
    mae: float
    r2: float | None
    mape: float | None
    constant: str
    constant_rmse: float
    constant_gain: Interval
    baseline: str
    baseline_rmse: float

    @property
    def rank(self) -> float:
        return -self.rmse.value

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        figures = {
            "rmse": self.rmse.value,
            "rmse_low": self.rmse.low,
            "rmse_high": self.rmse.high,
            "mae": self.mae,
            "r2": self.r2,
            "mape": self.mape,
            "constant_rmse": self.constant_rmse,
            "baseline_rmse": self.baseline_rmse,
        }
        return {name: value for name, value in figures.items() if value is not None}

    def shown(self) -> dict[str, str]:
        """The figures of a table, by heading."""
        rmse = self.rmse
        return {
            "RMSE": f"{rmse.value:.4g}",
            f"{rmse.confidence:.0%}".replace("%", " %"): f"{rmse.low:.4g}–{rmse.high:.4g}",
            "MAE": f"{self.mae:.4g}",
            "R²": _number(self.r2, ".3f"),
        }


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
    ) -> RegressionEvaluation:
        label, train = data.label[windows.test], windows.examples.labels.astype(np.float64)
        prediction = scores[windows.test].astype(np.float64)
        drawn: dict[str, Any] = {
            "rounds": policy.gate.bootstrap,
            "confidence": policy.gate.confidence,
            "seed": seed,
        }
        constants = {
            name: np.full(len(label), value)
            for name, value in (("mean", train.mean()), ("median", np.median(train)))
        }
        constant = min(constants, key=lambda name: regression.rmse(label, constants[name]))
        baseline, baseline_rmse = _best_single_feature(data, windows)
        return RegressionEvaluation(
            events=len(label),
            train_events=len(train),
            mean=float(label.mean()),
            train_mean=float(train.mean()),
            rmse=regression.bootstrap_rmse(label, prediction, **drawn),
            mae=regression.mae(label, prediction),
            r2=regression.r2(label, prediction),
            mape=regression.mape(label, prediction),
            constant=constant,
            constant_rmse=regression.rmse(label, constants[constant]),
            constant_gain=regression.paired_rmse_gain(label, prediction, constants[constant], **drawn),
            baseline=baseline,
            baseline_rmse=baseline_rmse,
        )

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
        gain = regression.paired_rmse_gain(
            labels, scores, champion, rounds=gate.bootstrap, confidence=gate.confidence, seed=seed
        )
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

    def card(self, evaluation: RegressionEvaluation, decisions: Decisions | None, label: Label) -> CardParts:
        rmse = evaluation.rmse
        return CardParts(
            heads=(f"mean {label.column}",),
            train=(f"{evaluation.train_mean:.4g}",),
            test=(f"{evaluation.mean:.4g}",),
            figures=(
                (
                    "root mean squared error",
                    f"{rmse.value:.4g} ({rmse.confidence:.0%} interval {rmse.low:.4g} to {rmse.high:.4g})",
                ),
                ("mean absolute error", f"{evaluation.mae:.4g}"),
                ("R²", _number(evaluation.r2, ".3f")),
                ("mean absolute percentage error", _number(evaluation.mape, ".1%")),
                (
                    f"{evaluation.constant} of the training labels",
                    f"{evaluation.constant_rmse:.4g} root mean squared error",
                ),
                (
                    "best single feature",
                    f"{evaluation.baseline_rmse:.4g} root mean squared error ({evaluation.baseline})",
                ),
            ),
            interval="a bootstrap over the events",
        )


TASK = Regression()


def _best_single_feature(data: Dataset, windows: Windows) -> tuple[str, float]:
    """The feature whose least-squares line through the training rows errs least on the test rows."""
    (features, train), test = windows.examples.arrays(), data.label[windows.test]
    best = ("", np.inf)
    for column, name in enumerate(data.names):
        x = features[:, column].astype(np.float64)
        spread = x.var()
        slope = np.mean((x - x.mean()) * (train - train.mean())) / spread if spread else 0.0
        line = train.mean() + slope * (data.features[windows.test, column].astype(np.float64) - x.mean())
        error = regression.rmse(test, line)
        if error < best[1]:
            best = (name, error)
    return best


def _number(value: float | None, form: str) -> str:
    return "not defined" if value is None else format(value, form)
