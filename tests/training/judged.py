"""A model that was judged: made-up figures of a scorer of frauds, as the card and the report show them."""

from __future__ import annotations

from mlops.metrics import (
    CardPrecision,
    Cost,
    CostCurve,
    Curve,
    Interval,
    Reliability,
    RocCurve,
    Workload,
)
from mlops.slices import Slice, SliceFigures
from training.ablation import Ablated
from training.card import CardFacts
from training.tasks.classification import ClassificationEvaluation
from training.tasks.classification.figures import Curves, Histogram

__all__ = ["ABLATION", "EVALUATION", "FACTS", "SLICES"]

FACTS = CardFacts(
    run_id="run7",
    created_at="2018-08-15T00:00:00+00:00",
    commit="abc123",
    seed=4,
    fingerprint="f00d",
    first_day="2018-07-25",
    train_window="2018-07-25 to 2018-07-31",
    test_window="2018-08-08 to 2018-08-14",
    train_events=13_000,
    test_events=12_000,
    unlabelled=17,
    known_cards=1_234,
    packages_digest="10cc",
    features_digest="fea7",
    fit_seconds=12.34,
)
SLICES = (Slice(name="night", feature="is_night"), Slice(name="region", column="region"))


def interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, confidence=0.9)


EVALUATION = ClassificationEvaluation(
    events=12_000,
    positives=96,
    train_events=13_000,
    train_positives=130,
    auc=interval(0.8765, 0.8512, 0.9034),
    ap=interval(0.6543, 0.6012, 0.7034),
    brier=interval(0.00456, 0.00399, 0.00501),
    brier_constant=0.00794,
    calibration_error=0.00123,
    expected=interval(1.25, 1.1, 1.4),
    reliability=(
        Reliability(
            low=0.0001,
            high=0.25,
            events=11_900,
            positives=20,
            mean_score=0.0042,
            observed=interval(0.0017, 0.0010, 0.0025),
        ),
    ),
    card_precision=CardPrecision(value=0.0671, oracle=0.0914, k=100),
    card_precision_interval=interval(0.0671, 0.0612, 0.0734),
    cost=Cost(
        total=2_566,
        reviews=500,
        false_declines=400,
        missed_frauds=1_666,
        approved=(11_800, 16),
        reviewed=(90, 30),
        declined=(14, 50),
    ),
    cost_interval=interval(2_566, 2_012, 3_034),
    cost_approve_all=11_952,
    workload=Workload(capacity=20, mean=17.1, most=25, days=7, days_over=2, left_over=9),
    baseline="high amount",
    baseline_ap=0.252,
    slices=(
        SliceFigures(
            name="night",
            value="night",
            events=3_000,
            positives=40,
            figures={"ap": interval(0.5, 0.4, 0.6), "stopped": interval(0.75, 0.7, 0.8)},
        ),
        SliceFigures(name="night", value="day", events=9_000, positives=5, figures=None),
    ),
    curves=Curves(
        precision_recall=Curve(recall=[0.5, 1.0], precision=[0.9, 0.1], threshold=[0.8, 0.1]),
        roc=RocCurve(false_positive_rate=[0.0, 0.2, 1.0], true_positive_rate=[0.0, 0.9, 1.0]),
        scores=Histogram(borders=[0.0, 0.1, 1.0], others=[11_800, 104], positives=[16, 80]),
        cost=CostCurve(threshold=[0.1, 0.9], review=[2_700.0, 2_500.0], decline=[9_000.0, 2_800.0]),
    ),
)
ABLATION = (
    Ablated(group="calendar", features=("is_night", "is_weekend"), drop=interval(0.012, -0.001, 0.024)),
    Ablated(group="sequence by card", features=("amount_1", "amount_2"), drop=interval(0.05, 0.03, 0.07)),
)
