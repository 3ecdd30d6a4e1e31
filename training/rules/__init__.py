"""The gate's rules: each a function of the evidence that gives checks, all of them asked of every candidate.

A new rule is a module here and its place in `RULES`; its limit is a field of `mlops.policy.Gate`.
"""

from __future__ import annotations

from collections.abc import Callable

from training.checks import Check
from training.evidence import Evidence
from training.rules.budgets import latency, size
from training.rules.calibration import calibration
from training.rules.freshness import freshness
from training.rules.importance import importance
from training.rules.parity import parity
from training.rules.performance import champion, performance
from training.rules.slices import slices
from training.rules.spread import spread

__all__ = ["RULES", "Rule", "checks_of"]

Rule = Callable[[Evidence], list[Check]]

RULES: tuple[Rule, ...] = (
    performance,
    champion,
    slices,
    calibration,
    importance,
    spread,
    freshness,
    parity,
    latency,
    size,
)


def checks_of(evidence: Evidence) -> tuple[Check, ...]:
    """What every rule says, in their order."""
    return tuple(check for rule in RULES for check in rule(evidence))
