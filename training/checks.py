"""One condition of the gate: what was seen, what is asked for, and both in a sentence."""

from __future__ import annotations

import msgspec

__all__ = ["Check", "at_least", "at_most", "check", "not_judged"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A condition, and whether it is met. Its name is what policies, pages and tests know it by.

    Where there was nothing to judge by, `passed` and `observed` are None, and the text says why. That refuses nobody.
    """

    name: str
    observed: float | None
    limit: float
    passed: bool | None
    text: str


def check(name: str, observed: float, limit: float, passed: bool, fact: str, wanted: str) -> Check:
    """A condition with its sentence, of what was seen (`fact`) and what is `wanted`."""
    text = f"{'Passed' if passed else 'Refused'}: {fact}; {wanted} is asked for."
    return Check(name=name, observed=observed, limit=limit, passed=passed, text=text)


def at_least(name: str, observed: float, limit: float, fact: str, wanted: str) -> Check:
    """A condition that is met from `limit` on."""
    return check(name, observed, limit, observed >= limit, fact, wanted)


def at_most(name: str, observed: float, limit: float, fact: str, wanted: str) -> Check:
    """A condition that is met up to `limit`."""
    return check(name, observed, limit, observed <= limit, fact, wanted)


def not_judged(name: str, limit: float, why: str) -> Check:
    """A condition that there is nothing to judge by; `why` is a clause."""
    return Check(name=name, observed=None, limit=limit, passed=None, text=f"Not judged: {why}.")
