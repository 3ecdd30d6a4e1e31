"""The model card, generated from a run: figures and facts from the data, prose from the use case."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlops.bundle import Decisions
from mlops.contract import Candidate, Effort, UseCase
from mlops.metrics import Interval
from mlops.slices import SliceFigures
from mlops.spread import Spread
from mlops.wording import definitions
from training.ablation import Ablated
from training.parity import Parity
from training.tasks import CardParts, Figure, SliceColumn, task_for

__all__ = ["CardFacts", "model_card", "sections_of"]

PROSE = "model_card.md"  # beside the use case: intended use and limits, what only a person knows


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run knows of itself.

    Fields:
        commit: of the code; empty outside of a checkout. `packages_digest` is that of the installed packages.
        fingerprint: of the feature table. `features_digest` is that of the features' definitions.
        first_day: the first training day; empty where events have no time.
        train_window, test_window: texts such as `2018-07-25 to 2018-07-31`.
        unlabelled, known_cards: events left out, as `training.split.Windows` counts them.
        fit_seconds: what fitting took, tuning not counted.
        spread: of the headline figure, over folds and seeds; None where only one model was trained.
        importance: each feature's share; empty where it was not computed.
        ablation: what each group of features is worth; None where that was not looked into.
    """

    run_id: str
    created_at: str
    commit: str
    seed: int
    fingerprint: str
    first_day: str
    train_window: str
    test_window: str
    train_events: int
    test_events: int
    unlabelled: int
    known_cards: int
    packages_digest: str
    features_digest: str = ""
    effort: Effort = "quick"
    fit_seconds: float = 0.0
    spread: Spread | None = None
    importance: dict[str, float] = {}
    ablation: tuple[Ablated, ...] | None = None


def model_card(
    package: str,
    use_case: UseCase,
    candidate: Candidate,
    facts: CardFacts,
    evaluation: Any,
    decisions: Decisions | None,
    parity: Parity,
) -> str:
    """A model card in Markdown (after Mitchell et al., Model Cards for Model Reporting, 2019).

    Args:
        package: the use case's package, whose `model_card.md`, if there is one, is put in.
        candidate: with the parameters that it was trained with.
        evaluation: the figures, of the use case's task.
    """
    sections = sections_of(package, use_case, candidate, facts, evaluation, decisions, parity)
    return "\n\n".join(section for section in sections.values() if section) + "\n"


def sections_of(
    package: str,
    use_case: UseCase,
    candidate: Candidate,
    facts: CardFacts,
    evaluation: Any,
    decisions: Decisions | None,
    parity: Parity,
) -> dict[str, str]:
    """The sections of the card by name and in their order; one that has nothing to say is empty."""
    parts = task_for(use_case.task).card(evaluation, decisions, use_case.label)
    return {
        "title": f"# {use_case.title}: {candidate.name}",
        "origin": f"Made {facts.created_at} with {candidate.framework} by run `{facts.run_id}`. This page is "
        f"generated; nothing on it was typed by hand, except for what `{package}` says of use and limits.",
        "use": _prose(package),
        "data": _data(facts, parts),
        "figures": _figures(use_case, facts, parts, parity),
        "slices": _slices(use_case, evaluation.slices, parts),
        "details": "\n\n".join(parts.sections),
        "training": _training(candidate, facts),
        "importance": _importance(facts.importance),
        "ablation": _ablation(facts),
        "features": _features(use_case, candidate),
        "lineage": _reproduce(package, candidate, facts),
    }


def _prose(package: str) -> str:
    page = Path(str(importlib.import_module(package).__file__)).with_name(PROSE)
    return page.read_text(encoding="utf-8").strip() if page.is_file() else ""


def _data(facts: CardFacts, parts: CardParts) -> str:
    heads = ("used for", "which", "events", *parts.heads)
    rows = (
        ("training", facts.train_window, f"{facts.train_events:,}", *parts.train),
        ("test", facts.test_window, f"{facts.test_events:,}", *parts.test),
    )
    left_out = f"Left out: {facts.unlabelled:,} events whose label is not known"
    if facts.known_cards:
        left_out += f", and {facts.known_cards:,} events of the test days on cards that were known as defrauded by then"
    rule = "|---|---|" + "---:|" * (len(heads) - 2)
    table = [f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(["## Data", "", *table, "", f"{left_out}."])


def _figures(use_case: UseCase, facts: CardFacts, parts: CardParts, parity: Parity) -> str:
    rows = [
        *parts.figures,
        Figure(
            name="ONNX against the original",
            value=f"{parity.max_abs_diff:.1e}",
            note=f"at most so far apart over {parity.rows:,} rows",
        ),
    ]
    table = [
        "| figure | value | interval | |",
        "|---|---:|---|---|",
        *(f"| {row.name} | {row.value} | {row.interval} | {row.note} |" for row in rows),
    ]
    origin = " The events are simulated." if use_case.simulator else ""
    return "\n".join(
        [
            f"## Figures on the test events, {facts.test_window}",
            "",
            *table,
            "",
            f"Intervals are {parts.interval}.{origin}",
        ]
    )


def _slices(use_case: UseCase, slices: Sequence[SliceFigures], parts: CardParts) -> str:
    if not use_case.slices:
        return ""
    counted = ["events", use_case.label.positives] if use_case.task == "classification" else ["events"]
    heads = ["slice", "", *counted, *(column.title for column in parts.slice_columns)]
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for one in slices:
        support = [f"{one.events:,}", f"{one.positives:,}"][: len(counted)]
        cells = [_cell(one.figures, column) for column in parts.slice_columns]
        lines.append(f"| {' | '.join([one.name, one.value, *support, *cells])} |")
    notes = ["A dash stands where there is too little to say."]
    if kinds := [s.name for s in use_case.slices if s.column in use_case.label.details]:
        notes.append(
            f"By {', '.join(kinds)}, a slice is such {use_case.label.positives} among all other events."
        )
    if absent := [s.name for s in use_case.slices if s.name not in {one.name for one in slices}]:
        notes.append(f"The data does not tell {', '.join(absent)}.")
    return "\n".join(["## Slices", "", *lines, "", " ".join(notes)])


def _cell(figures: Mapping[str, Interval] | None, column: SliceColumn) -> str:
    if figures is None or (one := figures.get(column.key)) is None:
        return "–"
    return f"{one.value:{column.form}} ({one.low:{column.form}} to {one.high:{column.form}})"


def _training(candidate: Candidate, facts: CardFacts) -> str:
    params = ", ".join(f"`{name}={value}`" for name, value in candidate.params.items()) or "none"
    text = (
        f"## Training\n\nFitted in {facts.fit_seconds:,.1f} s at effort {facts.effort}, with the parameters {params} "
        f"of `{candidate.builder}`."
    )
    if candidate.calibration:
        text += f" Scores are calibrated ({candidate.calibration}) on events that it was not trained on."
    if facts.spread is not None:
        folds, seeds = (
            " ".join("divergence" if value is None else f"{value:.4g}" for value in values) or "none"
            for values in (facts.spread.folds, facts.spread.seeds)
        )
        text += f" On the validation folds such models reached {folds}; with one seed and another, {seeds} in the mean."
    return text


def _importance(importance: Mapping[str, float]) -> str:
    if not importance:
        return "## Importance\n\nNot computed in this run."
    ranked = sorted(importance.items(), key=lambda item: -item[1])
    lines = [f"| `{name}` | {share:.1%} |" for name, share in ranked]
    text = "What share of the movement of the scores is each feature's, by Shapley values on test events."
    return "\n".join(["## Importance", "", text, "", "| feature | share |", "|---|---:|", *lines])


def _ablation(facts: CardFacts) -> str:
    if facts.ablation is None:
        return (
            "## Ablation by feature group\n\nNot run at effort "
            f"{facts.effort}: what the model would be worth without a group of its features was not looked into."
        )
    lines = ["| without | features | drop | interval |", "|---|---:|---:|---|"]
    for one in facts.ablation:
        drop = one.drop
        lines.append(
            f"| {one.group} | {len(one.features)} | {drop.value:+.4f} | {drop.low:+.4f} to {drop.high:+.4f} |"
        )
    text = (
        "How far the headline figure drops when the model is fitted again with a constant in a group's place; below 0, "
        "it rises."
    )
    return "\n".join(["## Ablation by feature group", "", text, "", *lines])


def _features(use_case: UseCase, candidate: Candidate) -> str:
    features = use_case.features_of(candidate)
    words = definitions(features)
    rows = [f"| `{name}` | {unit} | {words[name]} | {text} |" for name, unit, text in features.describe()]
    head = ["## Features", "", "| feature | unit | computed as | what it says |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _reproduce(package: str, candidate: Candidate, facts: CardFacts) -> str:
    lineage = [
        ("code", f"commit `{facts.commit}`" if facts.commit else "not from a checkout"),
        ("packages", f"installed `{facts.packages_digest}`"),
        ("data", f"feature table with fingerprint `{facts.fingerprint}`"),
        ("features", f"definitions `{facts.features_digest}`"),
        ("first training day", facts.first_day or "none: drawn at random"),
        ("seed", str(facts.seed)),
        ("effort", facts.effort),
        ("parameters", "above, under training"),
        ("run", f"`{facts.run_id}`"),
    ]
    since = f" --train-from {facts.first_day}" if facts.first_day else ""
    lines = [f"| {name} | {value} |" for name, value in lineage]
    return "\n".join(
        [
            "## How to reproduce",
            "",
            "| | |",
            "|---|---|",
            *lines,
            "",
            f"`MLOPS_USECASE={package} mlops train{since} --candidate {candidate.name} --seed {facts.seed} --effort "
            f"{facts.effort}` trains the same, in a home whose feature table has this fingerprint. Data and features "
            "are the same everywhere; figures are the same on one kind of CPU, and may differ in the third digit on "
            "another. Above effort quick the search ends by the clock, so parameters may differ.",
        ]
    )
