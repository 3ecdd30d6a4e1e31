"""The evaluation of a model as one JSON file, and as one HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from mlops.bundle import Decisions
from mlops.contract import Candidate, UseCase
from mlops.metrics import Interval
from mlops.slices import SliceFigures
from training.card import CardFacts, sections_of
from training.parity import Parity
from training.results import Evaluation
from training.tasks import SliceColumn, task_for

__all__ = ["Report", "write_report"]

_HERE = Path(__file__).parent
_MOST_FEATURES = 20  # of those by importance


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`evaluation.json`: all that is known of a model when it is made.

    Fields:
        params: what it was trained with.
        figures: on the test events, with intervals, slices and what is drawn of them.
    """

    use_case: str
    title: str
    candidate: str
    framework: str
    builder: str
    params: dict[str, Any]
    calibration: str
    facts: CardFacts
    decisions: Decisions | None
    parity: Parity
    figures: Evaluation


class _Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar of a table: its text, and where it and its whisker stand, in percent of the track."""

    text: str
    start: float
    length: float
    low: float
    high: float
    zero: float


def write_report(
    package: str,
    use_case: UseCase,
    candidate: Candidate,
    facts: CardFacts,
    evaluation: Evaluation,
    decisions: Decisions | None,
    parity: Parity,
) -> tuple[bytes, str]:
    """The report as JSON, which reads as a `Report`, and as HTML; the arguments are those of the model card."""
    report = Report(
        use_case=use_case.name,
        title=use_case.title,
        candidate=candidate.name,
        framework=candidate.framework,
        builder=candidate.builder,
        params=candidate.params,
        calibration=candidate.calibration,
        facts=facts,
        decisions=decisions,
        parity=parity,
        figures=evaluation,
    )
    task = task_for(use_case.task)
    parts = task.card(evaluation, decisions, use_case.label)
    sections = sections_of(package, use_case, candidate, facts, evaluation, decisions, parity)
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["html"] = _html
    columns = parts.slice_columns
    html = environment.get_template("report.html.j2").render(
        title=f"{use_case.title}: {candidate.name}",
        facts=facts,
        framework=candidate.framework,
        simulated=bool(use_case.simulator),
        figures=parts.figures,
        interval=parts.interval,
        plots=task.plots(evaluation, decisions, use_case.label),
        slice_columns=columns,
        slices=_slices(evaluation.slices, columns),
        counts_positives=use_case.label.positives if use_case.task == "classification" else "",
        importance=_importance(facts.importance),
        ablation=None if facts.ablation is None else _ablation(facts),
        sections=sections,
    )
    return msgspec.json.encode(report), html


def _html(markdown: str) -> Markup:
    """Markdown as HTML; markup inside it is shown, not followed."""
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return Markup(
        rendered.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    )


def _slices(
    slices: Sequence[SliceFigures], columns: Sequence[SliceColumn]
) -> list[tuple[SliceFigures, _Bar | None, list[str]]]:
    """Each slice with a bar of the first figure, and the others as texts."""
    first = columns[0]
    intervals = [one.figures[first.key] for one in slices if one.figures and first.key in one.figures]
    top = max([1.0 if first.key == "ap" else 0.0, *(one.high for one in intervals)], default=1.0)
    rows = []
    for one in slices:
        figures = one.figures or {}
        bar = _bar(figures[first.key], first.form, 0.0, top) if first.key in figures else None
        texts = [
            f"{figures[column.key].value:{column.form}}" if column.key in figures else "–"
            for column in columns[1:]
        ]
        rows.append((one, bar, texts))
    return rows


def _importance(importance: Mapping[str, float]) -> list[tuple[str, _Bar]]:
    ranked = sorted(importance.items(), key=lambda item: -item[1])[:_MOST_FEATURES]
    top = max((share for _, share in ranked), default=1.0) or 1.0
    return [
        (name, _bar(Interval(value=share, low=share, high=share, confidence=1.0), ".1%", 0.0, top))
        for name, share in ranked
    ]


def _ablation(facts: CardFacts) -> list[tuple[str, int, _Bar]]:
    drops = [one.drop for one in facts.ablation or ()]
    low = min([0.0, *(drop.low for drop in drops)])
    high = max([0.0, *(drop.high for drop in drops)])
    return [(one.group, len(one.features), _bar(one.drop, "+.4f", low, high)) for one in facts.ablation or ()]


def _bar(one: Interval, form: str, low: float, high: float) -> _Bar:
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - low) / span, 2)

    ends = sorted((place(0.0), place(one.value)))
    return _Bar(
        text=f"{one.value:{form}}",
        start=ends[0],
        length=round(ends[1] - ends[0], 2),
        low=place(one.low),
        high=place(one.high),
        zero=place(0.0),
    )
