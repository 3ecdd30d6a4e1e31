"""A figure that holds with another seed."""

from __future__ import annotations

import numpy as np

from training.checks import Check, at_most, not_judged
from training.evidence import Evidence

__all__ = ["spread"]


def spread(evidence: Evidence) -> list[Check]:
    """The standard deviation over seeds of the fit, as a share of the mean; no seed may make it diverge.

    That over folds is told, and not limited: it holds the chance of which events their days had, which is larger
    than what any model adds where positives are few.
    """
    limit, found = evidence.gate.max_spread, evidence.result.spread
    if found is None:
        why = f"at effort {evidence.result.effort} one model is trained, and there are no folds or seeds to compare"
        return [not_judged("spread", limit, why)]
    diverged = [str(evidence.result.seed + n) for n, value in enumerate(found.seeds) if value is None]
    if diverged:
        text = f"Refused: the fit diverges with seed {' and '.join(diverged)}; a figure with every seed is asked for."
        return [Check(name="spread", observed=None, limit=limit, passed=False, text=text)]
    if len(found.seeds) < 2:
        return [not_judged("spread", limit, "one seed was tried, and there are no others to compare")]
    mean = abs(float(np.mean(found.folds)))
    if not mean:
        return [not_judged("spread", limit, "the figure is 0 on every fold")]
    share, folds = found.over_seeds / mean, len(found.folds)
    fact = f"over {len(found.seeds)} seeds the headline figure varies by {share:.1%} of its mean (standard deviation)"
    if folds > 1:
        fact += (
            f", and over {folds} folds by {found.over_folds / mean:.1%}, the chance in their events included"
        )
    return [at_most("spread", share, limit, fact, f"at most {limit:.1%} over seeds")]
