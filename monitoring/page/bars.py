"""Lengths of the bars that the page draws with its style sheet, in per cent of their track."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from monitoring.page import words
from monitoring.results import DriftResult
from monitoring.story import Stage, Story

Cause = Literal["missed", "declines", "reviews"]

__all__ = ["Bar", "CostBar", "CostPart", "cost_bars", "drift_bars", "stage_bars"]

_LONGEST = 10  # in thresholds: one feature far off would flatten all others


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar, what it is called and the number beside it. `cut` bars are longer than their track."""

    name: str
    text: str
    length: float
    strong: bool = False
    cut: bool = False


class CostPart(msgspec.Struct, frozen=True, kw_only=True):
    """One cause's part of a bar."""

    kind: Cause
    text: str
    length: float


class CostBar(msgspec.Struct, frozen=True, kw_only=True):
    """What 1,000 payments cost in a period, as lengths of the parts of one bar."""

    role: str
    title: str
    total: float
    parts: tuple[CostPart, ...]


def drift_bars(drift: DriftResult) -> tuple[list[Bar], float]:
    """A bar per feature, the furthest first, and where the threshold lies."""
    columns = sorted(
        drift.columns, key=lambda column: (column.drifted, _finite(column.value, math.inf)), reverse=True
    )
    threshold = columns[0].threshold
    limit = max([2 * threshold, *(_finite(column.value, 0.0) for column in columns)])
    limit = min(limit, _LONGEST * threshold)
    bars = []
    for column in columns:
        value = column.value
        bars.append(
            Bar(
                name=column.name,
                text=f"{value:.3f}" if value is not None and math.isfinite(value) else "no values",
                length=100 * min(_finite(value, limit if column.drifted else 0.0) / limit, 1.0),
                strong=column.drifted,
                cut=_finite(value, 0.0) > limit,
            )
        )
    return bars, 100 * threshold / limit


def _finite(value: float | None, otherwise: float) -> float:
    return value if value is not None and math.isfinite(value) else otherwise


def cost_bars(story: Story) -> list[CostBar]:
    """A bar per period with costs, all on one scale."""
    per = [(p, c, 1000 / p.scores.events) for p in story.periods if (c := p.scores.cost) is not None]
    longest = max((cost.total * factor for _, cost, factor in per), default=0.0) or 1.0
    bars = []
    for period, cost, factor in per:
        parts: tuple[tuple[Cause, str, float], ...] = (
            ("missed", "missed", cost.missed_frauds * factor),
            ("declines", "false declines", cost.false_declines * factor),
            ("reviews", "reviews", cost.reviews * factor),
        )
        bars.append(
            CostBar(
                role=period.role,
                title=period.title,
                total=cost.total * factor,
                parts=tuple(
                    CostPart(kind=kind, text=f"{text} {words.count(value)}", length=100 * value / longest)
                    for kind, text, value in parts
                ),
            )
        )
    return bars


def stage_bars(stages: tuple[Stage, ...]) -> list[Bar]:
    """A bar per stage, in the order in which they ran."""
    longest = max((stage.seconds for stage in stages), default=0.0) or 1.0
    return [
        Bar(name=s.name, text=words.duration(s.seconds), length=100 * s.seconds / longest) for s in stages
    ]
