"""One condition of the gate: what was seen, what is asked for, and both in a sentence."""

from __future__ import annotations

import msgspec

__all__ = ["Check", "at_least", "check"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A condition, and whether it is met. Its name is what policies, pages and tests know it by."""

    name: str
    observed: float
    limit: float
    passed: bool
    text: str


def check(name: str, observed: float, limit: float, passed: bool, fact: str, wanted: str) -> Check:
    """A condition with its sentence, of what was seen (`fact`) and what is `wanted`."""
    text = f"{'Passed' if passed else 'Refused'}: {fact}; {wanted} is asked for."
    return Check(name=name, observed=observed, limit=limit, passed=passed, text=text)


def at_least(name: str, observed: float, limit: float, fact: str, wanted: str) -> Check:
    """A condition that is met from `limit` on."""
    return check(name, observed, limit, observed >= limit, fact, wanted)
