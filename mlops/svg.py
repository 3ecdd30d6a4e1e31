"""A few SVG marks. Colours and type come from the page's style sheet by class, so that light and dark both hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from markupsafe import Markup

__all__ = ["Canvas", "Scale", "ticks"]


class Scale:
    """A linear map from `domain` to `range_`."""

    def __init__(self, domain: tuple[float, float], range_: tuple[float, float]) -> None:
        self._from, self._to = domain[0], range_[0]
        self._factor = (range_[1] - range_[0]) / ((domain[1] - domain[0]) or 1.0)

    def __call__(self, value: float) -> float:
        return self._to + (value - self._from) * self._factor


def ticks(first: int, last: int, most: int, steps: Sequence[int] = (1, 7, 14, 28, 56)) -> list[int]:
    """Round days from `first` to `last`, at most about `most` of them."""
    span = last - first
    step = next((s for s in steps if span / s <= most), max(steps))
    return list(range(first, last + 1, step))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Canvas:
    """Collects marks; `svg()` gives the picture. Every text is escaped.

    Args:
        width, height: in the picture's own units, which are CSS pixels where it is shown at full size.
        label: what a screen reader says of it.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self._label = width, height, label
        self._parts: list[str] = []

    def _add(self, tag: str, cls: str, tip: str = "", body: str = "", **attributes: float | str) -> None:
        written = "".join(
            f' {name.replace("_", "-")}="{_number(value) if isinstance(value, (int, float)) else escape(value)}"'
            for name, value in attributes.items()
        )
        inner = f"<title>{escape(tip)}</title>" if tip else body
        self._parts.append(f'<{tag} class="{escape(cls)}"{written}>{inner}</{tag}>')

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str, tip: str = "") -> None:
        self._add("line", cls, tip, x1=x1, y1=y1, x2=x2, y2=y2)

    def rect(
        self, x: float, y: float, width: float, height: float, cls: str, tip: str = "", radius: float = 0
    ) -> None:
        self._add("rect", cls, tip, x=x, y=y, width=max(width, 0), height=max(height, 0), rx=radius)

    def circle(self, x: float, y: float, radius: float, cls: str, tip: str = "") -> None:
        self._add("circle", cls, tip, cx=x, cy=y, r=radius)

    def path(self, points: Iterable[tuple[float, float]], cls: str, tip: str = "") -> None:
        self._add("path", cls, tip, d="M" + "L".join(f"{_number(x)},{_number(y)}" for x, y in points))

    def text(self, x: float, y: float, text: str, cls: str = "", anchor: str = "start") -> None:
        self._add("text", cls, body=escape(text), x=x, y=y, text_anchor=anchor)

    def svg(self) -> Markup:
        """The picture, ready for the page."""
        return Markup(
            f'<svg viewBox="0 0 {_number(self.width)} {_number(self.height)}" role="img" '
            f'aria-label="{escape(self._label)}">{"".join(self._parts)}</svg>'
        )
