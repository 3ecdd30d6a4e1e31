"""Classification: how well rare events are ranked, which thresholds cost least, what a ranking must show."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops import metrics
from mlops.bundle import Decisions
from mlops.errors import InputError
from mlops.policy import Gate, Policy
from mlops.schema import Label
from training.checks import Check, at_least, check
from training.dataset import Dataset
from training.split import Windows
from training.tasks import CardParts, Compared, Rows, Scores

__all__ = ["MIN_TRAIN_EVENTS", "NEVER", "TASK", "Classification", "ClassificationEvaluation", "clusters_of"]

MIN_TRAIN_EVENTS = 20  # of the rarer class; fewer, and a fit says more about the draw than about the class
NEVER = 2.0  # a threshold that no probability reaches; JSON has no infinity


class ClassificationEvaluation(msgspec.Struct, frozen=True, kw_only=True, tag="classification"):
    """The figures of a scorer on the test rows.

    Fields:
        events, positives: how many; `train_events` and `train_positives` in training.
        ap: average precision, with a bootstrap interval by card and day.
        card_precision: card precision@k; None for a use case without cards.
        cost, cost_approve_all: of the decisions, and of approving everything, in currency; None without costs.
        baseline, baseline_ap: the single feature, in the better direction, with the highest average precision.
    """

    events: int
    positives: int
    train_events: int
    train_positives: int
    auc: float
    ap: metrics.Interval
    card_precision: metrics.CardPrecision | None
    cost: metrics.Cost | None
    cost_approve_all: float | None
    baseline: str
    baseline_ap: float

    @property
    def rank(self) -> float:
        return self.ap.value

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        figures = {
            "auc": self.auc,
            "ap": self.ap.value,
            "ap_low": self.ap.low,
            "ap_high": self.ap.high,
            "baseline_ap": self.baseline_ap,
            "test_positives": float(self.positives),
            "train_positives": float(self.train_positives),
        }
        if self.cost is not None and self.cost_approve_all is not None:
            figures |= {"cost": self.cost.total, "cost_approve_all": self.cost_approve_all}
        if (cards := self.card_precision) is not None:
            figures |= {f"cp{cards.k}": cards.value, f"cp{cards.k}_oracle": cards.oracle}
        return figures

    def shown(self) -> dict[str, str]:
        """The figures of a table, by heading."""
        ap, cards = self.ap, self.card_precision
        found = {
            "AUC": f"{self.auc:.3f}",
            "AP": f"{ap.value:.3f}",
            f"{ap.confidence:.0%}".replace("%", " %"): f"{ap.low:.3f}–{ap.high:.3f}",
        }
        return found | ({f"CP@{cards.k}": f"{cards.value:.3f} of {cards.oracle:.3f}"} if cards else {})


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
        label = data.label[rows]
        review_at, decline_at = metrics.best_thresholds(
            label, scores[rows].astype(np.float64), _amounts(data)[rows], policy.costs
        )
        return Decisions(
            review_at=min(review_at, NEVER),
            decline_at=min(decline_at, NEVER),
            chosen_by=f"least cost over {len(rows):,} events {kept}, {int(label.sum()):,} of them positive",
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
    ) -> ClassificationEvaluation:
        rows = windows.test
        label, score = data.label[rows], scores[rows].astype(np.float64)
        baseline, baseline_ap = _best_single_feature(data, rows)
        cards = cost = approve_all = None
        if data.card is not None and data.day is not None:
            cards = metrics.card_precision_at_k(data.day[rows], data.card[rows], label, score, policy.top_k)
        if decisions is not None and policy.costs is not None:
            judged = label, score, _amounts(data)[rows], policy.costs
            cost = metrics.cost(*judged, review_at=decisions.review_at, decline_at=decisions.decline_at)
            approve_all = metrics.cost(*judged, review_at=NEVER, decline_at=NEVER).total
        return ClassificationEvaluation(
            events=len(rows),
            positives=int(label.sum()),
            train_events=len(windows.examples),
            train_positives=int(windows.examples.labels.sum()),
            auc=metrics.auc(label, score),
            ap=metrics.bootstrap_ap(
                label,
                score,
                clusters_of(data, rows),
                rounds=policy.gate.bootstrap,
                confidence=policy.gate.confidence,
                seed=seed,
            ),
            card_precision=cards,
            cost=cost,
            cost_approve_all=approve_all,
            baseline=baseline,
            baseline_ap=baseline_ap,
        )

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
                evaluation.auc,
                gate.min_auc,
                f"an area under the ROC curve of {evaluation.auc:.3f}",
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
        difference = metrics.paired_bootstrap(
            labels,
            scores,
            champion,
            clusters_of(data, rows),
            rounds=gate.bootstrap,
            confidence=gate.confidence,
            seed=seed,
        )
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

    def card(
        self, evaluation: ClassificationEvaluation, decisions: Decisions | None, label: Label
    ) -> CardParts:
        ap = evaluation.ap
        figures = [
            (
                "average precision",
                f"{ap.value:.3f} ({ap.confidence:.0%} interval {ap.low:.3f} to {ap.high:.3f})",
            ),
            (
                "best single feature",
                f"{evaluation.baseline_ap:.3f} average precision ({evaluation.baseline})",
            ),
            ("area under the ROC curve", f"{evaluation.auc:.3f}"),
        ]
        if (cards := evaluation.card_precision) is not None:
            found = f"{cards.value:.3f}, where a perfect scorer reaches {cards.oracle:.3f}"
            figures.append((f"card precision@{cards.k}", found))
        return CardParts(
            heads=(label.positives, "share"),
            train=_share(evaluation.train_positives, evaluation.train_events),
            test=_share(evaluation.positives, evaluation.events),
            figures=tuple(figures),
            interval="a bootstrap by card and day" if cards else "a bootstrap over the events",
            decisions=_decisions(decisions, evaluation, label) if decisions else "",
        )


TASK = Classification()


def clusters_of(data: Dataset, rows: Rows) -> Rows:
    """What is drawn together in a bootstrap: the events of a card on a day, or single events without cards."""
    if data.card is None or data.day is None:
        return np.arange(len(rows))
    return metrics.clusters(data.day[rows], data.card[rows])


def _amounts(data: Dataset) -> NDArray[np.float64]:
    return np.zeros(len(data)) if data.amount is None else data.amount


def _best_single_feature(data: Dataset, rows: Rows) -> tuple[str, float]:
    label = data.label[rows]
    best = ("", -1.0)
    for column, name in enumerate(data.names):
        values = data.features[rows, column].astype(np.float64)
        for sign, direction in ((1, "high"), (-1, "low")):
            ap = metrics.average_precision(label, sign * values)
            if ap > best[1]:
                best = (f"{direction} {name}", ap)
    return best


def _share(positives: int, events: int) -> tuple[str, str]:
    return f"{positives:,}", f"{positives / events:.2%}"


def _decisions(decisions: Decisions, evaluation: ClassificationEvaluation, label: Label) -> str:
    cost, all_approved = evaluation.cost, evaluation.cost_approve_all
    assert cost is not None, "there are no decisions without costs"

    def band(name: str, counts: tuple[int, int], at: float | None) -> str:
        limit = "below" if at is None else "never" if at >= NEVER else f"from {at:.4f}"
        return f"| {name} | {limit} | {counts[0]:,} | {counts[1]:,} |"

    lines = [
        "## Decisions",
        "",
        f"Thresholds: {decisions.chosen_by}. On the test events:",
        "",
        f"| decision | score | others | {label.positives} |",
        "|---|---|---:|---:|",
        band("decline", cost.declined, decisions.decline_at),
        band("review", cost.reviewed, decisions.review_at),
        band("approve", cost.approved, None),
        "",
        f"They cost {cost.total:,.0f}: {cost.reviews:,.0f} for reviews, {cost.false_declines:,.0f} for others that "
        f"were declined, {cost.missed_frauds:,.0f} for {label.positives} that were missed. Approving everything would "
        f"have cost {all_approved:,.0f}.",
    ]
    return "\n".join(lines)
