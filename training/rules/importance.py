"""No feature that the model is all but made of: often it holds the answer, by a leak."""

from __future__ import annotations

from training.checks import Check, at_most, not_judged
from training.evidence import Evidence

__all__ = ["importance"]


def importance(evidence: Evidence) -> list[Check]:
    """The share of the scores' movement that is the most important feature's."""
    limit, shares = evidence.gate.max_importance, evidence.result.importance
    if not shares:
        return [not_judged("importance", limit, "the run has no importance of its features")]
    if len(shares) == 1:
        return [not_judged("importance", limit, "there is one feature only")]
    first = max(shares, key=lambda name: shares[name])
    fact = f"{shares[first]:.0%} of what moves the scores is {first}"
    return [at_most("importance", shares[first], limit, fact, f"at most {limit:.0%}")]
