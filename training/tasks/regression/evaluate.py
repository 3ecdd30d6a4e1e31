"""The figures of predictions on the test rows, with their intervals from one resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops import regression
from mlops.metrics import bootstrap, means
from mlops.policy import Policy
from mlops.slices import Slice, SliceFigures, cut
from training.dataset import Dataset
from training.slicing import columns_of
from training.split import Windows
from training.tasks import Scores
from training.tasks.regression.figures import RegressionEvaluation, Residuals, Sample

__all__ = ["MIN_EVENTS", "evaluate"]

MIN_EVENTS = 20  # of a slice; fewer, and a figure says more about the draw than about the slice
_DRAWN = 400
_BINS = 10

Floats = NDArray[np.float64]


def evaluate(
    scores: Scores,
    data: Dataset,
    windows: Windows,
    policy: Policy,
    *,
    seed: int,
    slices: Sequence[Slice] = (),
) -> RegressionEvaluation:
    """See `training.tasks.Task.evaluate`."""
    label = data.label[windows.test].astype(np.float64)
    train = windows.examples.labels.astype(np.float64)
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
    figures = bootstrap([regression.error_statistic(label, prediction)], np.arange(len(label)), **drawn)[0]
    return RegressionEvaluation(
        events=len(label),
        train_events=len(train),
        mean=float(label.mean()),
        train_mean=float(train.mean()),
        rmse=figures["rmse"],
        mae=figures["mae"],
        bias=figures["bias"],
        r2=figures.get("r2"),
        mape=regression.mape(label, prediction),
        residuals=_residuals(label, prediction, drawn),
        constant=constant,
        constant_rmse=regression.rmse(label, constants[constant]),
        constant_gain=regression.paired_rmse_gain(label, prediction, constants[constant], **drawn),
        baseline=baseline,
        baseline_rmse=baseline_rmse,
        slices=_slices(slices, data, windows, label, prediction, drawn),
        sample=_sample(label, prediction),
    )


def _residuals(label: Floats, prediction: Floats, drawn: dict[str, Any]) -> tuple[Residuals, ...]:
    place, events = regression.prediction_bins(prediction, _BINS), np.arange(len(label))
    ratios = {str(b): ((prediction - label) * (place == b), place == b) for b in range(place.max() + 1)}
    found = bootstrap([means(ratios, events)], events, most_undefined=1.0, **drawn)[0]
    return tuple(
        Residuals(
            low=float(prediction[place == number].min()),
            high=float(prediction[place == number].max()),
            events=int((place == number).sum()),
            mean_prediction=float(prediction[place == number].mean()),
            bias=found[str(number)],
        )
        for number in range(place.max() + 1)
    )


def _slices(
    slices: Sequence[Slice],
    data: Dataset,
    windows: Windows,
    label: Floats,
    prediction: Floats,
    drawn: dict[str, Any],
) -> tuple[SliceFigures, ...]:
    parts = cut(slices, columns_of(data, windows.test))
    told = [part for part in parts if part.rows.sum() >= MIN_EVENTS]
    statistics = [regression.error_statistic(label, prediction, part.rows) for part in told]
    found = dict(
        zip((id(part) for part in told), bootstrap(statistics, np.arange(len(label)), **drawn), strict=True)
    )
    return tuple(
        SliceFigures(
            name=part.name,
            value=part.value,
            events=int(part.rows.sum()),
            positives=0,
            figures=found.get(id(part)),
        )
        for part in parts
    )


def _sample(label: Floats, prediction: Floats) -> Sample:
    ranked = np.argsort(prediction, kind="stable")
    some = ranked[np.linspace(0, len(ranked) - 1, min(_DRAWN, len(ranked))).astype(np.int64)]
    counts, borders = np.histogram(prediction - label, 30)
    return Sample(
        prediction=prediction[some].tolist(),
        label=label[some].tolist(),
        borders=borders.tolist(),
        counts=counts.tolist(),
    )


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
