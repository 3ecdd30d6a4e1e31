"""What the page says in words: chosen by what was measured, whatever that was."""

from __future__ import annotations

import math
from collections.abc import Callable

from mlops.metrics import Interval
from monitoring.results import MonitorResult, PeriodScores, Scores
from monitoring.story import Period, Story

__all__ = ["ap", "count", "duration", "figures", "headline", "number", "share", "small", "verdict"]


def ap(value: float | None) -> str:
    """A score between 0 and 1."""
    return "–" if value is None else f"{value:.3f}"


def number(value: float | None) -> str:
    """A figure in a unit of its own."""
    return "–" if value is None else f"{value:.4g}"


def figures(scores: PeriodScores) -> dict[str, str]:
    """The columns of a report, by heading."""
    if isinstance(scores, Scores):
        found = {
            "events": count(scores.events),
            "positives": count(scores.positives),
            "AP": ap(scores.ap.value if scores.ap else None),
            "interval": _interval(scores.ap, ap),
            "AUC": ap(scores.auc),
        }
        if scores.cost is not None:
            found |= {
                "precision": share(scores.precision),
                "recall": share(scores.recall),
                "cost": count(scores.cost.total),
            }
        return found
    return {
        "events": count(scores.events),
        "RMSE": number(scores.rmse.value),
        "interval": _interval(scores.rmse, number),
        "MAE": number(scores.mae),
        "bias": number(scores.bias),
        "R²": ap(scores.r2),
    }


def share(value: float | None) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def count(value: float) -> str:
    """A whole number with thousands set apart."""
    return f"{value:,.0f}"


def small(value: float) -> str:
    """A difference: 0 is 0, anything else keeps its order of magnitude."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "not a number"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}".replace("e-0", "e-")


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def headline(story: Story) -> tuple[str, str]:
    """A title and a lead of two or three sentences.

    A drop or a recovery is called one only if the intervals of the two periods lie apart.
    """
    before, changed = story.period("before"), story.period("changed")
    after = story.period("retrained", "unchanged")
    dropped, recovered = _apart(changed, before), _apart(changed, after)
    lead = (
        f"Average precision was {_reached(before)}, and {'fell to ' if dropped else ''}{_reached(changed)}, when the "
        "world had changed."
    )
    if not dropped:
        lead += " The two intervals overlap: this run shows no certain loss."
    if story.refused:
        title = "The world changed, retraining did not help, and the gate refused it"
        lead += f" No retrained model passed the gate, so {story.champion_before} goes on serving: {_reached(after)}."
        return title, lead
    if not story.promoted:
        title = "The world changed, and no model was retrained"
        lead += f" Monitoring asked for no retraining. {story.champion_before} goes on serving: {_reached(after)}."
        return title, lead
    lead += f" The retrained model, {story.champion_after}, reached {_reached(after)}"
    virtual = story.counterfactual
    if virtual is not None and virtual.scores.ap is not None:
        lead += f"; on the same payments the old one would have reached {ap(virtual.scores.ap.value)}"
    if not dropped:
        title = "The world changed, the model held, and a retrained one took over"
    elif recovered:
        title = "The world changed, the model missed it, and retraining brought it back"
    else:
        title = "The world changed, the model missed it, and a retrained one does not clearly do better"
    return title, f"{lead}."


def verdict(result: MonitorResult) -> str:
    """The title of a report."""
    if result.request is not None:
        return "Performance has become worse, and retraining is asked for"
    if result.alerts:
        return "An alert: " + ", ".join(alert.rule for alert in result.alerts)
    return "Nothing to look at"


def _interval(interval: Interval | None, show: Callable[[float | None], str]) -> str:
    return "–" if interval is None else f"{show(interval.low)} to {show(interval.high)}"


def _apart(low: Period | None, high: Period | None) -> bool:
    if low is None or high is None or low.scores.ap is None or high.scores.ap is None:
        return False
    return low.scores.ap.high < high.scores.ap.low


def _reached(period: Period | None) -> str:
    if period is None:
        return "not measured"
    return f"{ap(period.scores.ap.value if period.scores.ap else None)} on days {period.first_day}–{period.last_day}"
