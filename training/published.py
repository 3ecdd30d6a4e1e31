"""Figures that others have published on this protocol, to be held against ours.

Le Borgne, Siblini, Lebichot, Bontempi, *Reproducible Machine Learning for Credit Card Fraud Detection – Practical
Handbook* (Université Libre de Bruxelles, 2022), on its simulated data: chapter 3 (baseline), 5 (model selection), 6
(imbalance) and 7 (deep learning). Its figures are of one draw of its simulator; another draw of the same size differs
by about .01 in AUC and AP, so a row is only to be compared closely on its own data.
"""

from __future__ import annotations

import msgspec

__all__ = ["FOLDS", "PUBLISHED", "SINGLE", "Figures"]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Area under the ROC curve, average precision, and card precision at 100 cards a day."""

    auc: float
    ap: float
    cp100: float


SINGLE = "2018-07-25"
"""First training day of the single split (table A)."""

FOLDS = ("2018-08-15", "2018-08-08", "2018-08-01", "2018-07-25")
"""First training days of the four folds (table B)."""


def _rows(**rows: tuple[float, float, float]) -> dict[str, Figures]:
    return {name.replace("_", "-"): Figures(auc=auc, ap=ap, cp100=cp) for name, (auc, ap, cp) in rows.items()}


PUBLISHED: dict[str, dict[str, Figures]] = {
    # Single split, default parameters; the tree is two levels deep.
    "A": _rows(
        logistic_regression=(0.871, 0.606, 0.291),
        decision_tree=(0.763, 0.496, 0.241),
        random_forest=(0.867, 0.658, 0.287),
        xgboost=(0.862, 0.639, 0.273),
    ),
    # Mean of four folds, parameters chosen on four validation folds.
    "B": _rows(
        decision_tree=(0.797, 0.579, 0.284),
        logistic_regression=(0.868, 0.623, 0.297),
        random_forest=(0.870, 0.678, 0.299),
        xgboost=(0.869, 0.687, 0.303),
        feed_forward_network=(0.876, 0.675, 0.303),
        cnn=(0.872, 0.599, 0.288),
        lstm=(0.876, 0.665, 0.297),
        lstm_attention=(0.874, 0.667, 0.295),
        balanced_bagging=(0.879, 0.680, 0.305),
    ),
}
"""By table and model."""
