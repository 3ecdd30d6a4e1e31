"""What the model card says of predictions of a quantity."""

from __future__ import annotations

from mlops.schema import Label
from training.tasks import CardParts, Figure, SliceColumn
from training.tasks.regression.figures import RegressionEvaluation

__all__ = ["card_parts"]


def card_parts(evaluation: RegressionEvaluation, label: Label) -> CardParts:
    """See `training.tasks.CardParts`."""
    mape = evaluation.mape
    figures = [
        Figure.of("root mean squared error", evaluation.rmse, ".4g"),
        Figure(
            name=f"{evaluation.constant} of the training labels",
            value=f"{evaluation.constant_rmse:.4g}",
            note="root mean squared error",
        ),
        Figure(
            name="best single feature",
            value=f"{evaluation.baseline_rmse:.4g}",
            note=f"root mean squared error of a line on {evaluation.baseline}",
        ),
        Figure.of("mean absolute error", evaluation.mae, ".4g"),
        Figure.of("bias", evaluation.bias, ".4g", "mean of prediction less label"),
        Figure(name="R²", value="not defined")
        if evaluation.r2 is None
        else Figure.of("R²", evaluation.r2, ".3f"),
        Figure(name="mean absolute percentage error", value="not defined" if mape is None else f"{mape:.1%}"),
    ]
    return CardParts(
        heads=(f"mean {label.column}",),
        train=(f"{evaluation.train_mean:.4g}",),
        test=(f"{evaluation.mean:.4g}",),
        figures=tuple(figures),
        interval="bootstraps over the events",
        sections=(_residuals(evaluation),),
        slice_columns=(
            SliceColumn(key="rmse", title="RMSE", form=".4g"),
            SliceColumn(key="mae", title="MAE", form=".4g"),
            SliceColumn(key="bias", title="bias", form=".4g"),
        ),
    )


def _residuals(evaluation: RegressionEvaluation) -> str:
    lines = [
        "## Bias by prediction",
        "",
        "Prediction less label, among events whose predictions are alike.",
        "",
        "| predictions | events | mean prediction | bias | interval |",
        "|---|---:|---:|---:|---|",
    ]
    for one in evaluation.residuals:
        bias = one.bias
        lines.append(
            f"| {one.low:.4g} to {one.high:.4g} | {one.events:,} | {one.mean_prediction:.4g} | {bias.value:.4g} | "
            f"{bias.low:.4g} to {bias.high:.4g} |"
        )
    return "\n".join(lines)
