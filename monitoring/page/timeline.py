"""When what happened: lanes of days, and numbered milestones across them."""

from __future__ import annotations

from markupsafe import Markup

from mlops.svg import Canvas, Scale, ticks
from monitoring.story import Story

__all__ = ["draw_timeline"]

_LANE, _BAR, _MARK = 40, 26, 9.5


def draw_timeline(story: Story, width: int) -> Markup:
    """The timeline at `width` pixels. Lanes are named in front of it where there is room, else above."""
    roomy = width >= 600
    lanes = list(dict.fromkeys(window.lane for window in story.windows))
    first = min([w.first_day for w in story.windows] + [m.day for m in story.milestones])
    last = max([w.last_day + 1 for w in story.windows] + [m.day for m in story.milestones])
    left, right = (max(len(lane) for lane in lanes) * 8.4 + 18, 16) if roomy else (12, 14)
    x = Scale((first, last), (left, width - right))

    rows = _rows([x(m.day) for m in story.milestones])
    top = 14 + (max(rows, default=0) + 1) * 24
    pitch = _LANE if roomy else _LANE + 16
    bottom = top + pitch * len(lanes)
    canvas = Canvas(width, bottom + (26 if roomy else 38), f"Timeline of days {first} to {last}")

    for day in ticks(first, last, 12 if roomy else 6):
        canvas.line(x(day), top - 4, x(day), bottom, "grid")
        canvas.text(x(day), bottom + 17, str(day), "tick", "middle")
    canvas.text(0, bottom + (17 if roomy else 33), "day", "tick")
    for milestone, row in zip(story.milestones, rows, strict=True):
        canvas.line(x(milestone.day), 14 + row * 24, x(milestone.day), bottom, f"stem {milestone.kind}")

    for number, lane in enumerate(lanes):
        y = top + number * pitch + (0 if roomy else 16)
        canvas.text(0, y + 17 if roomy else y - 4, lane, "lane")
        for window in (w for w in story.windows if w.lane == lane):
            begin, end = x(window.first_day) + 1, x(window.last_day + 1) - 1
            span = f"days {window.first_day}–{window.last_day}"
            canvas.rect(
                begin, y, end - begin, _BAR, f"mark window {window.kind}", f"{window.text}: {span}", 3
            )
            if len(window.text) * 7.2 < end - begin - 4:
                canvas.text((begin + end) / 2, y + 17, window.text, f"inside {window.kind}", "middle")

    for number, (milestone, row) in enumerate(zip(story.milestones, rows, strict=True), start=1):
        tip = f"day {milestone.day}: {milestone.text}"
        canvas.circle(x(milestone.day), 14 + row * 24, _MARK, f"mark pin {milestone.kind}", tip)
        canvas.text(x(milestone.day), 18 + row * 24, str(number), "pin-number", "middle")
    return canvas.svg()


def _rows(xs: list[float]) -> list[int]:
    """A row for each pin, so that no two in a row touch."""
    ends: list[float] = []
    rows = []
    for x in xs:
        row = next((r for r, end in enumerate(ends) if x - end > 2 * _MARK + 2), len(ends))
        ends[row : row + 1] = [x]
        rows.append(row)
    return rows
