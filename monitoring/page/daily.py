"""Average precision day by day, with the drop, the recovery, and what would have been."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from mlops.svg import Canvas, Scale
from monitoring.story import Period, Story

__all__ = ["draw_daily"]

_TOP, _BOTTOM, _LEFT, _RIGHT = 92, 40, 36, 10
_PINS, _VALUES, _VIRTUAL_VALUES = 34, 64, 82  # heights of what stands above the plot
_GAP = 3.0  # how wide days without a period are drawn, in days


class _Days:
    """Where a day lies: days of equal width, and a short gap in place of those that no period covers."""

    def __init__(self, periods: Sequence[Period], left: float, right: float) -> None:
        covered = sorted({d for p in periods for d in range(p.first_day, p.last_day + 1)})
        runs = [[covered[0], covered[0] + 1]]
        for day in covered[1:]:
            if day > runs[-1][1] + _GAP:
                runs.append([day, day])
            runs[-1][1] = day + 1
        self.runs = [(first, end) for first, end in runs]
        self.gaps = [(a[1], b[0]) for a, b in zip(self.runs, self.runs[1:], strict=False)]
        total = sum(end - first for first, end in self.runs) + _GAP * len(self.gaps)
        self._pixels = Scale((0, total), (left, right))

    def __call__(self, day: float) -> float:
        """Pixels of a moment within a run, or of the end of the last one."""
        before = 0.0
        for first, end in self.runs:
            if day < end or (first, end) == self.runs[-1]:
                break
            before += end - first + _GAP
        return self._pixels(before + day - first)

    def end(self, last_day: int) -> float:
        """Pixels of the end of a day that lies in a run."""
        return self(last_day) + self._pixels(1) - self._pixels(0)


def draw_daily(story: Story, width: int) -> Markup:
    """The chart at `width` pixels: dots and whiskers are days; bars, with their number above, whole periods."""
    height = 350 if width < 600 else 440
    x = _Days(story.periods, _LEFT, width - _RIGHT)
    y = Scale((0.0, 1.0), (height - _BOTTOM, _TOP))
    canvas = Canvas(width, height, "Average precision by day, with bootstrap intervals")
    _draw_axes(canvas, x, y, height, width)

    for number, milestone in enumerate(story.milestones, start=1):
        shown = any(first <= milestone.day < end for first, end in x.runs)
        if shown and milestone.kind in ("change", "model", "refusal"):
            at = x(milestone.day)
            canvas.line(at, _PINS, at, height - _BOTTOM, f"stem {milestone.kind}")
            canvas.circle(at, _PINS, 9.5, f"pin {milestone.kind}", milestone.text)
            canvas.text(at, _PINS + 4, str(number), "pin-number", "middle")

    for period in sorted(story.periods, key=lambda p: p.role != "counterfactual"):
        _draw_period(canvas, period, x, y, width)
    return canvas.svg()


def _draw_axes(canvas: Canvas, x: _Days, y: Scale, height: int, width: int) -> None:
    for tenth in range(0, 11, 2):
        for first, end in x.runs:
            canvas.line(x(first), y(tenth / 10), x.end(end - 1), y(tenth / 10), "grid")
        canvas.text(_LEFT - 8, y(tenth / 10) + 4, f"{tenth / 10:.1f}", "tick", "end")
    step = 1 if width >= 900 else 2 if width >= 600 else 3
    for first, end in x.runs:
        for day in range(first, end, step):
            canvas.text(x(day + 0.5), height - _BOTTOM + 18, str(day), "tick", "middle")
    for first, end in x.gaps:
        middle = (x.end(first - 1) + x(end)) / 2
        canvas.text(
            middle, height - _BOTTOM + 18, f"{first}–{end - 1}" if width >= 600 else "⋯", "tick", "middle"
        )
    canvas.text((_LEFT + width - _RIGHT) / 2, height - 4, "day", "tick", "middle")
    canvas.text(0, 12, "average precision", "tick")


def _draw_period(canvas: Canvas, period: Period, x: _Days, y: Scale, width: int) -> None:
    virtual = period.role == "counterfactual"
    shift = 0.68 if virtual else 0.5  # beside the real dots of the same day
    for day in period.days:
        at = x(day.day + shift)
        tip = f"day {day.day}, {period.model}: {day.ap:.3f} ({day.low:.3f} to {day.high:.3f}), {day.frauds} frauds"
        canvas.line(at, y(day.low), at, y(day.high), f"whisker {period.role}", tip)
        canvas.circle(at, y(day.ap), 4 if width >= 600 else 3, f"mark dot {period.role}", tip)
    whole = period.scores.ap
    if whole is None:
        return
    begin, end = x(period.first_day) + 1, x.end(period.last_day) - 1
    canvas.rect(begin, y(whole.high), end - begin, y(whole.low) - y(whole.high), f"band {period.role}")
    canvas.line(begin, y(whole.value), end, y(whole.value), f"mark level {period.role}", period.title)
    row = _VIRTUAL_VALUES if virtual else _VALUES
    canvas.text((begin + end) / 2, row, f"{whole.value:.2f}", f"value {period.role}", "middle")
