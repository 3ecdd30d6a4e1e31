"""The pictures of predictions of a quantity."""

from __future__ import annotations

from itertools import pairwise

from mlops.schema import Label
from training.axes import Axes, Plot, linear
from training.tasks.regression.figures import RegressionEvaluation

__all__ = ["draw"]


def draw(evaluation: RegressionEvaluation, label: Label) -> tuple[Plot, ...]:
    """See `training.tasks.Task.plots`."""
    return _predictions(evaluation, label), _bias(evaluation), _residuals(evaluation)


def _predictions(evaluation: RegressionEvaluation, label: Label) -> Plot:
    sample = evaluation.sample
    low, high = min(sample.prediction + sample.label), max(sample.prediction + sample.label)
    axes = Axes(
        linear(low, high, "prediction"), linear(low, high, label.column), "Labels against predictions"
    )
    axes.curve([(low, low), (high, high)], "faint")
    for prediction, truth in zip(sample.prediction, sample.label, strict=True):
        axes.dot(prediction, truth, "small main", f"{prediction:.4g} predicted, {truth:.4g} in truth")
    return Plot(
        title="Labels against predictions",
        svg=axes.svg(),
        key=(("faint", "no error"),),
        caption=f"{len(sample.prediction):,} of {evaluation.events:,} test events, evenly over the predictions.",
    )


def _bias(evaluation: RegressionEvaluation) -> Plot:
    bins = evaluation.residuals
    ends = [end for one in bins for end in (one.bias.low, one.bias.high, one.bias.value, 0.0)]
    x = linear(min(one.low for one in bins), max(one.high for one in bins), "prediction")
    axes = Axes(x, linear(min(ends), max(ends), "bias"), "Bias by prediction")
    axes.level(0, "faint")
    for one in bins:
        bias = one.bias
        tip = f"{one.events:,} events with predictions from {one.low:.4g} to {one.high:.4g}: {bias.value:.4g}"
        axes.dot(one.mean_prediction, bias.value, "main", tip, bias.low, bias.high)
    return Plot(
        title="Bias by prediction",
        svg=axes.svg(),
        key=(("main", "mean of prediction less label"),),
        caption="Events in tenths of rising predictions.",
    )


def _residuals(evaluation: RegressionEvaluation) -> Plot:
    sample = evaluation.sample
    axes = Axes(
        linear(sample.borders[0], sample.borders[-1], "prediction less label"),
        linear(0, max(sample.counts), "events", ",.0f"),
        "Distribution of residuals",
    )
    for (low, high), count in zip(pairwise(sample.borders), sample.counts, strict=True):
        if count:
            axes.bar(low, high, count, "others", f"{count:,} events from {low:.4g} to {high:.4g}")
    axes.upright(0, "threshold")
    return Plot(
        title="Residuals",
        svg=axes.svg(),
        key=(("others block", "events"),),
        caption="Right of the line, predictions are above the labels.",
    )
