"""The model card, generated from a run: figures and facts from the data, prose from the use case."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec

from mlops.bundle import Decisions
from mlops.contract import Candidate, UseCase
from mlops.wording import definitions
from training.parity import Parity
from training.tasks import CardParts, task_for

__all__ = ["CardFacts", "model_card"]

PROSE = "model_card.md"  # beside the use case: intended use and limits, what only a person knows


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run knows of itself. Windows are texts such as `2018-07-25 to 2018-07-31`; `first_day` may be empty."""

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
        evaluation: the figures, of the use case's task.
    """
    parts = task_for(use_case.task).card(evaluation, decisions, use_case.label)
    sections = [
        f"# {use_case.title}: {candidate.name}",
        f"Made {facts.created_at} with {candidate.framework} by run `{facts.run_id}`. This page is generated; "
        f"nothing on it was typed by hand, except for what `{package}` says of use and limits.",
        _prose(package),
        _data(facts, parts),
        _figures(use_case, facts, parts, parity),
        parts.decisions,
        _features(use_case),
        _reproduce(package, candidate, facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


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
        ("ONNX against the original", f"at most {parity.max_abs_diff:.1e} apart over {parity.rows:,} rows"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    origin = " The events are simulated." if use_case.simulator else ""
    return (
        f"## Figures on the test events, {facts.test_window}\n\n| | |\n|---|---|\n{table}\n\nThe interval is "
        f"{parts.interval}.{origin}"
    )


def _features(use_case: UseCase) -> str:
    words = definitions(use_case.features)
    described = use_case.features.describe()
    rows = [f"| `{name}` | {unit} | {words[name]} | {text} |" for name, unit, text in described]
    head = ["## Features", "", "| feature | unit | computed as | what it says |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _reproduce(package: str, candidate: Candidate, facts: CardFacts) -> str:
    since = f", from {facts.first_day} on" if facts.first_day else ""
    commit = f"commit `{facts.commit}`, " if facts.commit else ""
    return (
        f"## How to reproduce\n\nTrain candidate `{candidate.name}` of `{package}` with {commit}seed {facts.seed}, on "
        f"the feature table with fingerprint `{facts.fingerprint}`{since}. Data and features are the same "
        f"everywhere; figures are the same on one kind of CPU and may differ in the third digit on another."
    )
