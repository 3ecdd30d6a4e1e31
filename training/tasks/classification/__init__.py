"""Classification: how well rare events are ranked, which thresholds cost least, what a ranking must show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import Decisions
from mlops.errors import InputError
from mlops.metrics import Interval
from mlops.policy import Costs, Gate, Policy
from mlops.schema import Label
from mlops.slices import Slice
from training.axes import Plot
from training.checks import Check, at_least, check
from training.dataset import Dataset
from training.split import Windows
from training.tasks import CardParts, Compared, Rows, Scores
from training.tasks.classification.evaluate import NEVER, amounts_of, clusters_of, evaluate
from training.tasks.classification.figures import ClassificationEvaluation
from training.tasks.classification.plots import draw
from training.tasks.classification.words import card_parts

__all__ = ["MIN_TRAIN_EVENTS", "NEVER", "TASK", "Classification", "ClassificationEvaluation", "clusters_of"]

MIN_TRAIN_EVENTS = 20  # of the rarer class; fewer, and a fit says more about the draw than about the class


class Classification:
    """See `training.tasks.Task`."""

    def check_labels(self, labels: NDArray[Any]) -> None:
        rarer = min(int((labels == 1).sum()), int((labels == 0).sum()))
        if not rarer:
            raise InputError(
                f"all {len(labels):,} labelled events to train on are of one class",
                where="split",
                todo="choose a window that holds both",
            )
        if rarer < MIN_TRAIN_EVENTS:
            raise InputError(
                f"{rarer} events of the rarer class are too few to train on",
                where="split",
                todo=f"at least {MIN_TRAIN_EVENTS} are needed: train on more events",
            )

    def scale(self, labels: NDArray[Any]) -> float:
        return 1.0

    def decide(self, scores: Scores, data: Dataset, windows: Windows, policy: Policy) -> Decisions | None:
        """The thresholds that would have cost least on the rows kept for that, unless nothing has a cost.

        The model has not seen these rows, and their labels are known when it goes live; so the cost on the test rows
        is an honest one. Without such rows, or positives in them, the training rows have to do.
        """
        if policy.costs is None:
            return None
        rows, kept = windows.wait, "between training and test" if data.day is not None else "kept for it"
        if not (data.label[rows] == 1).any():
            rows, kept = windows.train, "trained on, which flatters them"
        label, score = data.label[rows], scores[rows].astype(np.float64)
        day = None if data.day is None else data.day[rows]
        review_at, decline_at = metrics.best_thresholds(
            label, score, amounts_of(data)[rows], policy.costs, day
        )
        chosen_by = f"least cost over {len(rows):,} events {kept}, {int(label.sum()):,} of them positive"
        return Decisions(
            review_at=min(review_at, NEVER),
            decline_at=min(decline_at, NEVER),
            chosen_by=chosen_by
            + _kept_back(label, score, amounts_of(data)[rows], policy.costs, day, review_at, decline_at),
        )

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
    ) -> ClassificationEvaluation:
        return evaluate(scores, data, windows, decisions, policy, seed=seed, slices=slices, details=details)

    def checks(self, evaluation: ClassificationEvaluation, gate: Gate, label: Label) -> list[Check]:
        ap, baseline_ap = evaluation.ap.value, evaluation.baseline_ap
        return [
            at_least(
                "test_positives",
                float(evaluation.positives),
                float(gate.min_test_positives),
                f"{evaluation.positives} {label.positives} among the {evaluation.events:,} test events",
                f"at least {gate.min_test_positives}",
            ),
            at_least(
                "auc",
                evaluation.auc.value,
                gate.min_auc,
                f"an area under the ROC curve of {evaluation.auc.value:.3f}",
                f"at least {gate.min_auc:.3f}",
            ),
            at_least(
                "baseline",
                ap - baseline_ap,
                gate.baseline_margin,
                f"an average precision of {ap:.3f}, {ap - baseline_ap:+.3f} against the best single feature's "
                f"{baseline_ap:.3f} ({evaluation.baseline})",
                f"at least {gate.baseline_margin:+.3f}",
            ),
        ]

    def compare(
        self,
        evaluation: ClassificationEvaluation,
        labels: NDArray[Any],
        scores: Scores,
        champion: Scores,
        data: Dataset,
        rows: Rows,
        gate: Gate,
        *,
        seed: int,
    ) -> Compared:
        difference = self.difference(labels, scores, champion, data, rows, gate, seed=seed)
        theirs = metrics.average_precision(labels, champion)
        fact = (
            f"an average precision of {evaluation.ap.value:.3f} against the champion's {theirs:.3f} on the same "
            f"{len(rows):,} events, {difference.value:+.3f} with a {gate.confidence:.0%} interval of "
            f"{difference.low:+.3f} to {difference.high:+.3f}"
        )
        margin = gate.champion_margin
        better = difference.low > margin
        return Compared(
            champion=theirs,
            check=check("champion", difference.low, margin, better, fact, f"a lower end above {margin:+.3f}"),
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
        return metrics.paired_bootstrap(
            labels,
            scores,
            other,
            clusters_of(data, rows),
            rounds=gate.bootstrap,
            confidence=gate.confidence,
            seed=seed,
        )

    def card(
        self, evaluation: ClassificationEvaluation, decisions: Decisions | None, label: Label
    ) -> CardParts:
        return card_parts(evaluation, decisions, label)

    def plots(
        self, evaluation: ClassificationEvaluation, decisions: Decisions | None, label: Label
    ) -> tuple[Plot, ...]:
        return draw(evaluation, decisions, label)


TASK = Classification()


def _kept_back(
    label: NDArray[Any],
    score: NDArray[np.float64],
    amount: NDArray[np.float64],
    costs: Costs,
    day: Rows | None,
    review_at: float,
    decline_at: float,
) -> str:
    """What the capacity for reviews has changed, in words."""
    if costs.capacity is None or day is None:
        return ""
    text = f", with at most {costs.capacity:,} reviews on each day"
    free = metrics.best_thresholds(label, score, amount, costs)
    if free == (review_at, decline_at):
        return f"{text}, which no day asked for more than"
    wanted = metrics.workload(score, day, review_at=free[0], decline_at=free[1], capacity=costs.capacity)
    return f"{text}; without that limit {wanted.mean:,.0f} a day would have cost least, {wanted.most:,} on the busiest"
