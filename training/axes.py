"""Pictures with two axes: curves, steps, points with whiskers and bars, as SVG whose colours the page's style gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec
from markupsafe import Markup

from mlops.svg import Canvas, Scale

__all__ = ["Axes", "Axis", "Plot", "linear", "log_odds", "nice_ticks", "steps"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 440, 330, 60, 44, 34, 14

Point = tuple[float, float]


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of a report: its title, SVG, the key to its lines (class and text of each) and what to see in it."""

    title: str
    svg: str
    key: tuple[tuple[str, str], ...] = ()
    caption: str = ""


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """Where values stand: from `low` to `high` after `place`, with marks at `ticks`, each a value and its text."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str
    place: Callable[[float], float] = float


def linear(low: float, high: float, title: str, form: str = "g") -> Axis:
    """An axis from `low` to `high` with about five marks at round numbers."""
    if high <= low:
        high = low + 1
    marks = tuple((value, format(value, form)) for value in nice_ticks(low, high))
    return Axis(low=low, high=high, ticks=marks, title=title)


def log_odds(title: str, least: float = 1e-4) -> Axis:
    """An axis of probabilities, evenly in log-odds from `least` to 1 − `least`; what is beyond stands at its ends."""

    def place(value: float) -> float:
        inside = min(max(value, least), 1 - least)
        return math.log(inside / (1 - inside))

    marks = [(value, f"{value:g}") for value in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999) if least <= value]
    return Axis(low=place(0), high=place(1), ticks=tuple(marks), title=title, place=place)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, at most about `most`."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


class Axes:
    """A picture to draw on, in the units of its axes; it reads from 300 to 560 pixels of width.

    Args:
        label: what a screen reader says of it.
    """

    def __init__(self, x: Axis, y: Axis, label: str) -> None:
        self._canvas = Canvas(_WIDTH, _HEIGHT, label)
        across = Scale((x.low, x.high), (_LEFT, _WIDTH - _RIGHT))
        up = Scale((y.low, y.high), (_HEIGHT - _BOTTOM, _TOP))
        self._x, self._y = (lambda v: across(x.place(v))), (lambda v: up(y.place(v)))
        self._floor = _HEIGHT - _BOTTOM
        canvas = self._canvas
        for value, text in y.ticks:
            canvas.line(_LEFT, self._y(value), _WIDTH - _RIGHT, self._y(value), "grid")
            canvas.text(_LEFT - 8, self._y(value) + 4, text, "tick", "end")
        for value, text in x.ticks:
            canvas.text(self._x(value), self._floor + 18, text, "tick", "middle")
        canvas.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x.title, "tick", "middle")
        canvas.text(0, 12, y.title, "tick")

    def curve(self, points: Iterable[Point], cls: str, tip: str = "") -> None:
        """A line through points."""
        self._canvas.path([(self._x(x), self._y(y)) for x, y in points], f"curve {cls}", tip)

    def level(self, y: float, cls: str, tip: str = "") -> None:
        """A line across."""
        self._canvas.line(_LEFT, self._y(y), _WIDTH - _RIGHT, self._y(y), f"curve {cls}", tip)

    def upright(self, x: float, cls: str, text: str = "", *, left: bool = False) -> None:
        """A line from bottom to top, and what it is, written above what is drawn, to the right or left of it."""
        at = self._x(x)
        self._canvas.line(at, self._floor, at, _TOP, f"curve {cls}", text)
        if text:
            place, anchor = (at - 5, "end") if left else (at + 5, "start")
            self._canvas.text(place, _TOP - 6, text, "mark-text", anchor)

    def dot(
        self, x: float, y: float, cls: str, tip: str, low: float | None = None, high: float | None = None
    ) -> None:
        """A point, with a whisker from `low` to `high`."""
        if low is not None and high is not None:
            self._canvas.line(self._x(x), self._y(low), self._x(x), self._y(high), f"whisker {cls}")
        self._canvas.circle(self._x(x), self._y(y), 4, f"dot {cls}", tip)

    def bar(
        self, left: float, right: float, y: float, cls: str, tip: str = "", base: float | None = None
    ) -> None:
        """A bar over [left, right], from the bottom or `base`."""
        start, end, top = self._x(left), self._x(right), self._y(y)
        floor = self._floor if base is None else self._y(base)
        low, high = min(top, floor), max(top, floor)
        self._canvas.rect(start + 0.5, low, end - start - 1, high - low, f"bar {cls}", tip)

    def svg(self) -> Markup:
        """The picture, ready for the page."""
        return self._canvas.svg()


def steps(xs: Sequence[float], ys: Sequence[float]) -> list[Point]:
    """Points of a line that keeps each y up to its x."""
    before, points = 0.0, []
    for x, y in zip(xs, ys, strict=True):
        points += [(before, y), (x, y)]
        before = x
    return points
