"""Scores that can be read as probabilities, and predictions that are not all too high or too low."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from mlops import metrics
from training.checks import Check, at_most, not_judged
from training.evidence import Evidence

__all__ = ["calibration"]

_EVENTS_A_BIN = 20  # expected positives; in smaller bins most of the error is luck


def calibration(evidence: Evidence) -> list[Check]:
    """What all bins of the scores miscount, as a share of the positives; in regression, how far the mean is off.

    The bins expect as many positives each. A model that says twice too much everywhere has an error of 1.
    """
    return [_error(evidence) if evidence.use_case.task == "classification" else _bias(evidence)]


def _error(evidence: Evidence) -> Check:
    limit, label = evidence.gate.max_calibration_error, evidence.use_case.label
    positives = int(evidence.labels.sum())
    if not positives:
        return not_judged("calibration", limit, f"there are no {label.positives} among the test events")
    bins = int(np.clip(positives // _EVENTS_A_BIN, 1, 10))
    error = (
        metrics.calibration_error(evidence.labels, evidence.scores, bins) * len(evidence.labels) / positives
    )
    expected = float(evidence.scores.sum(dtype=np.float64))
    fact = (
        f"the scores expect {expected:,.0f} {label.positives} where there were {positives:,}, and miscount "
        f"{error:.0%} of them in {bins} bins"
    )
    return at_most("calibration", error, limit, fact, f"at most {limit:.0%}")


def _bias(evidence: Evidence) -> Check:
    limit, rmse = evidence.gate.max_bias, evidence.result.figures.metrics()["rmse"]
    residual = evidence.scores.astype(np.float64) - evidence.labels
    bias = float(residual.mean())
    noise = (
        NormalDist().inv_cdf((1 + evidence.gate.confidence) / 2)
        * float(residual.std())
        / len(residual) ** 0.5
    )
    sure = max(abs(bias) - noise, 0) / rmse if rmse else 0.0
    fact = (
        f"predictions are {abs(bias):.4g} too {'high' if bias > 0 else 'low'} on average, {sure:.0%} of the root mean "
        f"squared error beyond noise"
    )
    return at_most("calibration", sure, limit, fact, f"at most {limit:.0%}")
