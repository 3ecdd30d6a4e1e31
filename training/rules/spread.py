"""A figure that holds on other days and with another seed."""

from __future__ import annotations

import numpy as np

from training.checks import Check, at_most, not_judged
from training.evidence import Evidence

__all__ = ["spread"]


def spread(evidence: Evidence) -> list[Check]:
    """The standard deviation over folds, or over seeds if that is larger, as a share of the mean."""
    limit, found = evidence.gate.max_spread, evidence.result.spread
    if found is None:
        why = f"at effort {evidence.result.effort} one model is trained, and there are no folds or seeds to compare"
        return [not_judged("spread", limit, why)]
    mean = abs(float(np.mean(found.folds)))
    if not mean:
        return [not_judged("spread", limit, "the figure is 0 on every fold")]
    shares = {
        f"{len(found.folds)} folds": found.over_folds / mean,
        f"{len(found.seeds)} seeds": found.over_seeds / mean,
    }
    widest = max(shares, key=lambda name: shares[name])
    fact = (
        f"over {widest} the headline figure varies by {shares[widest]:.1%} of its mean (standard deviation)"
    )
    return [at_most("spread", shares[widest], limit, fact, f"at most {limit:.1%}")]
