"""The pictures of a scorer of rare events."""

from __future__ import annotations

import math
from itertools import pairwise

from mlops.bundle import Decisions
from mlops.schema import Label
from training.axes import Axes, Axis, Plot, linear, log_odds, steps
from training.tasks.classification.figures import ClassificationEvaluation

__all__ = ["draw"]


def draw(evaluation: ClassificationEvaluation, decisions: Decisions | None, label: Label) -> tuple[Plot, ...]:
    """See `training.tasks.Task.plots`."""
    pictures = [
        _precision_recall(evaluation, label),
        _roc(evaluation),
        _reliability(evaluation),
        _scores(evaluation, decisions, label),
    ]
    if decisions is not None and evaluation.curves.cost is not None:
        pictures.append(_cost(evaluation, decisions))
    return tuple(pictures)


def _precision_recall(evaluation: ClassificationEvaluation, label: Label) -> Plot:
    curve, share = evaluation.curves.precision_recall, evaluation.positives / evaluation.events
    axes = Axes(linear(0, 1, "recall"), linear(0, 1, "precision"), "Precision-recall curve")
    axes.level(share, "faint", f"the share of {label.positives}: {share:.2%}")
    # As average precision sums them: up to each recall at the precision reached there.
    axes.curve(steps(curve.recall, curve.precision), "main")
    return Plot(
        title="Precision and recall",
        svg=axes.svg(),
        key=(("main", f"the model, average precision {evaluation.ap.value:.3f}"), ("faint", "chance")),
    )


def _roc(evaluation: ClassificationEvaluation) -> Plot:
    curve = evaluation.curves.roc
    axes = Axes(linear(0, 1, "false positive rate"), linear(0, 1, "true positive rate"), "ROC curve")
    axes.curve([(0, 0), (1, 1)], "faint")
    axes.curve(zip(curve.false_positive_rate, curve.true_positive_rate, strict=True), "main")
    return Plot(
        title="ROC",
        svg=axes.svg(),
        key=(("main", f"the model, area {evaluation.auc.value:.3f}"), ("faint", "chance")),
    )


def _reliability(evaluation: ClassificationEvaluation) -> Plot:
    axes = Axes(log_odds("mean score"), log_odds("share observed"), "Reliability curve")
    axes.curve([(0, 0), (1, 1)], "faint")
    axes.curve([(one.mean_score, one.observed.value) for one in evaluation.reliability], "main thin")
    for one in evaluation.reliability:
        share = one.observed
        tip = f"{one.positives:,} of {one.events:,} events with scores from {one.low:.4f} to {one.high:.4f}"
        axes.dot(one.mean_score, share.value, "main", tip, share.low, share.high)
    return Plot(
        title="Reliability",
        svg=axes.svg(),
        key=(("main", "events in bins of rising scores"), ("faint", "what the scores say")),
        caption="Axes are even in log-odds. Each bin's scores add up to the same number, so each expects as many.",
    )


def _scores(evaluation: ClassificationEvaluation, decisions: Decisions | None, label: Label) -> Plot:
    found = evaluation.curves.scores
    most = max(*found.others, *found.positives, 1)
    top = math.ceil(math.log10(most + 1))
    marks = tuple((10.0**power, f"{10**power:,}") for power in range(top + 1))
    counts = Axis(low=-0.3, high=top, ticks=marks, title="events", place=lambda v: math.log10(max(v, 0.5)))
    x = log_odds("score")
    axes = Axes(x, counts, "Distribution of scores")
    for (low, high), others, positives in zip(
        pairwise(found.borders), found.others, found.positives, strict=True
    ):
        span = f"scores from {low:.4f} to {high:.4f}"
        if x.place(high) <= x.place(low):
            continue
        if others:
            axes.bar(low, high, others, "others", f"{others:,} others with {span}")
        if positives:
            axes.bar(low, high, positives, "positive", f"{positives:,} {label.positives} with {span}")
    _thresholds(axes, decisions)
    return Plot(
        title="Scores",
        svg=axes.svg(),
        key=(("others block", "others"), ("positive block", label.positives)),
        caption="Counts stand on a logarithmic axis, scores evenly in log-odds.",
    )


def _cost(evaluation: ClassificationEvaluation, decisions: Decisions) -> Plot:
    curve, all_approved = evaluation.curves.cost, evaluation.cost_approve_all
    assert curve is not None and all_approved is not None and evaluation.cost is not None
    # Far dearer thresholds would flatten what is of interest.
    top = 1.6 * max(all_approved, evaluation.cost.total)
    axes = Axes(log_odds("threshold"), linear(0, top, "cost", ",.0f"), "Cost against threshold")
    axes.level(all_approved, "faint", f"approving everything: {all_approved:,.0f}")
    for values, cls in ((curve.review, "main"), (curve.decline, "second")):
        axes.curve([(at, min(v, top)) for at, v in zip(curve.threshold, values, strict=True)], cls)
    _thresholds(axes, decisions)
    return Plot(
        title="Cost against threshold",
        svg=axes.svg(),
        key=(
            ("main", "review from here on"),
            ("second", "decline from here on"),
            ("faint", "approve everything"),
        ),
        caption="One threshold is moved, the other one kept. Dearer ones are cut off above. As they were chosen, "
        f"decisions cost {evaluation.cost.total:,.0f}; approving everything costs {all_approved:,.0f}.",
    )


def _thresholds(axes: Axes, decisions: Decisions | None) -> None:
    if decisions is None:
        return
    for at, name in ((decisions.review_at, "review"), (decisions.decline_at, "decline")):
        if at <= 1:
            axes.upright(at, "threshold", name, left=name == "review")
