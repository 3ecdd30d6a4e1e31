"""What a ranking of rare events is worth: numbers from labels and scores, in NumPy alone.

Arrays are 1-d and of one length: `y` labels in {0, 1}, `s` scores (higher is more suspicious).
"""

from __future__ import annotations

from mlops.metrics.bootstrap import (
    bootstrap,
    bootstrap_ap,
    card_statistic,
    clusters,
    means,
    paired_bootstrap,
    ranking_statistic,
    totals,
)
from mlops.metrics.calibration import (
    Reliability,
    brier,
    calibration_error,
    observed_share,
    reliability_bins,
)
from mlops.metrics.cards import CardPrecision, card_precision_at_k
from mlops.metrics.costs import (
    Cost,
    CostCurve,
    Workload,
    best_thresholds,
    cost,
    cost_curve,
    event_costs,
    workload,
)
from mlops.metrics.figures import Interval
from mlops.metrics.ranking import (
    Curve,
    RocCurve,
    auc,
    average_precision,
    precision_recall_curve,
    roc_curve,
)

__all__ = [
    "CardPrecision",
    "Cost",
    "CostCurve",
    "Curve",
    "Interval",
    "Reliability",
    "RocCurve",
    "Workload",
    "auc",
    "average_precision",
    "best_thresholds",
    "bootstrap",
    "bootstrap_ap",
    "brier",
    "calibration_error",
    "card_precision_at_k",
    "card_statistic",
    "clusters",
    "cost",
    "cost_curve",
    "event_costs",
    "means",
    "observed_share",
    "paired_bootstrap",
    "precision_recall_curve",
    "ranking_statistic",
    "reliability_bins",
    "roc_curve",
    "totals",
    "workload",
]
