"""The figures of predictions of a quantity on the test rows."""

from __future__ import annotations

import msgspec

from mlops.metrics import Interval
from mlops.slices import SliceFigures

__all__ = ["RegressionEvaluation", "Residuals", "Sample"]


class Residuals(msgspec.Struct, frozen=True, kw_only=True):
    """Events with predictions from `low` to `high`, and the mean of prediction less label among them."""

    low: float
    high: float
    events: int
    mean_prediction: float
    bias: Interval


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the events, evenly over the ranks of their predictions, and how many have which residual.

    Fields:
        prediction, label: of the events.
        borders, counts: of residuals, prediction less label: counts[i] lie between one border and the next.
    """

    prediction: list[float]
    label: list[float]
    borders: list[float]
    counts: list[int]


class RegressionEvaluation(msgspec.Struct, frozen=True, kw_only=True, tag="regression"):
    """The figures of predictions on the test rows, in the label's unit; intervals are bootstrap intervals over events.

    Fields:
        events, train_events: how many.
        mean, train_mean: of the labels.
        rmse, mae: root mean squared and mean absolute error.
        bias: mean of prediction less label.
        r2, mape: None where they are not defined.
        residuals: the bias by tenths of the predictions, from the lowest up.
        constant, constant_rmse: the better of the training labels' mean and median, predicted for every event.
        constant_gain: by what share of `constant_rmse` the model errs less, with a paired bootstrap interval.
        baseline, baseline_rmse: the single feature whose line through the training rows errs least on the test rows.
        slices: the parts of the events, in the order of their declaration.
        sample: events to draw.
    """

    events: int
    train_events: int
    mean: float
    train_mean: float
    rmse: Interval
    mae: Interval
    bias: Interval
    r2: Interval | None
    mape: float | None
    residuals: tuple[Residuals, ...]
    constant: str
    constant_rmse: float
    constant_gain: Interval
    baseline: str
    baseline_rmse: float
    slices: tuple[SliceFigures, ...]
    sample: Sample

    @property
    def rank(self) -> float:
        return -self.rmse.value

    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        intervals = {"rmse": self.rmse, "mae": self.mae, "bias": self.bias, "r2": self.r2}
        figures: dict[str, float | None] = {
            f"{name}{end}": value
            for name, one in intervals.items()
            if one is not None
            for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
        }
        figures |= {
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
            "MAE": f"{self.mae.value:.4g}",
            "R²": "not defined" if self.r2 is None else f"{self.r2.value:.3f}",
        }
