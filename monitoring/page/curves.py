"""Precision-recall curves of one training's candidates, and of the champion of the time."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from mlops.svg import Canvas, Scale
from monitoring.story import Curve, Training

__all__ = ["draw_curves"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 440, 340, 40, 40, 22, 12


def draw_curves(training: Training) -> Markup:
    """One square-ish picture that reads from 300 to 560 pixels of width."""
    x = Scale((0.0, 1.0), (_LEFT, _WIDTH - _RIGHT))
    y = Scale((0.0, 1.0), (_HEIGHT - _BOTTOM, _TOP))
    canvas = Canvas(_WIDTH, _HEIGHT, f"Precision-recall curves: {training.title}")
    for tenth in range(0, 11, 2):
        value = tenth / 10
        canvas.line(_LEFT, y(value), _WIDTH - _RIGHT, y(value), "grid")
        canvas.text(_LEFT - 8, y(value) + 4, f"{value:.1f}", "tick", "end")
        canvas.text(x(value), _HEIGHT - _BOTTOM + 18, f"{value:.1f}", "tick", "middle")
    canvas.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, "recall", "tick", "middle")
    canvas.text(0, 12, "precision", "tick")

    def draw(curve: Curve, cls: str, tip: str) -> None:
        canvas.path([(x(r), y(p)) for r, p in _steps(curve)], f"mark curve {cls}", tip)

    if training.incumbent is not None:
        draw(training.incumbent, "incumbent", f"the champion of the time: AP {training.incumbent.ap:.3f}")
    # The promoted one is drawn last, on top of the others.
    for number, candidate in sorted(
        enumerate(training.candidates), key=lambda item: item[1].name == training.promoted
    ):
        chosen = " promoted" if candidate.name == training.promoted else ""
        draw(candidate.curve, f"c{number % 3}{chosen}", f"{candidate.name}: AP {candidate.ap:.3f}")
    return canvas.svg()


def _steps(curve: Curve) -> Iterator[tuple[float, float]]:
    """Recall and precision as average precision sums them: up to each recall at the precision reached there."""
    before = 0.0
    for recall, precision in zip(curve.recall, curve.precision, strict=True):
        yield before, precision
        yield recall, precision
        before = recall
