"""Trained on days that are as recent as they can be, or nearly so."""

from __future__ import annotations

from datetime import date, timedelta

from mlops.policy import Split
from training.checks import Check, at_most, not_judged
from training.evidence import Evidence

__all__ = ["freshness"]


def freshness(evidence: Evidence) -> list[Check]:
    """How many days the training days end before those that the split allows.

    A split by time needs days to wait for labels and to test on, up to the last labels that are due; those are no fault
    of a run.
    """
    limit, split, until = (
        evidence.gate.max_age_days,
        evidence.use_case.policy.split,
        evidence.result.trained_until,
    )
    if evidence.newest is None or not isinstance(split, Split) or not until:
        return [not_judged("freshness", limit, "the training data have no last day")]
    possible = evidence.newest - timedelta(days=split.delay_days + split.test_days)
    age = max(0, (possible - date.fromisoformat(until)).days)
    fact = (
        f"trained until {until}; with labels until {evidence.newest} and {split.delay_days + split.test_days} days for "
        f"delay and test, {age} days older than need be"
    )
    return [at_most("freshness", float(age), float(limit), fact, f"at most {limit}")]
