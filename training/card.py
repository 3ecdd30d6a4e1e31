"""The model card, generated from a run: figures and facts from the data, prose from the use case."""

from __future__ import annotations

import importlib
from pathlib import Path

import msgspec

from mlops.bundle import Decisions
from mlops.contract import Candidate, UseCase
from training.evaluate import NEVER, Evaluation
from training.parity import Parity

__all__ = ["CardFacts", "model_card"]

PROSE = "model_card.md"  # beside the use case: intended use and limits, what only a person knows


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run knows of itself. Windows are texts such as `2018-07-25 to 2018-07-31`."""

    run_id: str
    created_at: str
    commit: str
    seed: int
    fingerprint: str
    train_window: str
    test_window: str
    train_events: int
    train_frauds: int
    unlabelled: int
    known_cards: int


def model_card(
    package: str,
    use_case: UseCase,
    candidate: Candidate,
    facts: CardFacts,
    evaluation: Evaluation,
    decisions: Decisions,
    parity: Parity,
) -> str:
    """A model card in Markdown (after Mitchell et al., Model Cards for Model Reporting, 2019).

    Args:
        package: the use case's package, whose `model_card.md`, if there is one, is put in.
    """
    sections = [
        f"# {use_case.title}: {candidate.name}",
        f"Made {facts.created_at} with {candidate.framework} by run `{facts.run_id}`. This page is generated; "
        f"nothing on it was typed by hand, except for what `{package}` says of use and limits.",
        _prose(package),
        _data(facts, evaluation),
        _figures(use_case, facts, evaluation, parity),
        _decisions(decisions, evaluation),
        _features(use_case),
        _reproduce(package, candidate, facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _prose(package: str) -> str:
    page = Path(str(importlib.import_module(package).__file__)).with_name(PROSE)
    return page.read_text(encoding="utf-8").strip() if page.is_file() else ""


def _data(facts: CardFacts, evaluation: Evaluation) -> str:
    lines = [
        "## Data",
        "",
        "| window | days | events | frauds | share |",
        "|---|---|---:|---:|---:|",
        _window_row("training", facts.train_window, facts.train_events, facts.train_frauds),
        _window_row("test", facts.test_window, evaluation.events, evaluation.frauds),
        "",
        f"Left out: {facts.unlabelled:,} events whose label is not known, and {facts.known_cards:,} events of the "
        f"test days on cards that were known as defrauded by then.",
    ]
    return "\n".join(lines)


def _window_row(name: str, days: str, events: int, frauds: int) -> str:
    return f"| {name} | {days} | {events:,} | {frauds:,} | {frauds / events:.2%} |"


def _figures(use_case: UseCase, facts: CardFacts, evaluation: Evaluation, parity: Parity) -> str:
    ap = evaluation.ap
    rows = [
        ("average precision", f"{ap.value:.3f} ({ap.confidence:.0%} interval {ap.low:.3f} to {ap.high:.3f})"),
        ("best single feature", f"{evaluation.baseline_ap:.3f} average precision ({evaluation.baseline})"),
        ("area under the ROC curve", f"{evaluation.auc:.3f}"),
    ]
    if (cards := evaluation.card_precision) is not None:
        rows.append(
            (
                f"card precision@{cards.k}",
                f"{cards.value:.3f}, where a perfect scorer reaches {cards.oracle:.3f}",
            )
        )
    rows.append(
        ("ONNX against the original", f"at most {parity.max_abs_diff:.1e} apart over {parity.rows:,} rows")
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    origin = " The events are simulated." if use_case.simulator else ""
    return (
        f"## Figures on the test days, {facts.test_window}\n\n| | |\n|---|---|\n{table}\n\nThe interval is a "
        f"bootstrap by card and day.{origin}"
    )


def _decisions(decisions: Decisions, evaluation: Evaluation) -> str:
    cost = evaluation.cost

    def band(name: str, counts: tuple[int, int], at: float | None) -> str:
        limit = "below" if at is None else "never" if at >= NEVER else f"from {at:.4f}"
        return f"| {name} | {limit} | {counts[0]:,} | {counts[1]:,} |"

    lines = [
        "## Decisions",
        "",
        f"Thresholds: {decisions.chosen_by}. On the test days:",
        "",
        "| decision | score | genuine | fraud |",
        "|---|---|---:|---:|",
        band("decline", cost.declined, decisions.decline_at),
        band("review", cost.reviewed, decisions.review_at),
        band("approve", cost.approved, None),
        "",
        f"They cost {cost.total:,.0f}: {cost.reviews:,.0f} for reviews, {cost.false_declines:,.0f} for declined "
        f"genuine events, {cost.missed_frauds:,.0f} for missed frauds. Approving everything would have cost "
        f"{evaluation.cost_approve_all:,.0f}.",
    ]
    return "\n".join(lines)


def _features(use_case: UseCase) -> str:
    rows = [f"| `{name}` | {unit} | {text} |" for name, unit, text in use_case.features.describe()]
    return "\n".join(["## Features", "", "| feature | unit | what it is |", "|---|---|---|", *rows])


def _reproduce(package: str, candidate: Candidate, facts: CardFacts) -> str:
    first = facts.train_window.split(" ")[0]
    commit = f"commit `{facts.commit}`, " if facts.commit else ""
    return (
        f"## How to reproduce\n\nTrain candidate `{candidate.name}` of `{package}` with {commit}seed {facts.seed}, on "
        f"the feature table with fingerprint `{facts.fingerprint}`, from {first} on. Data and features are the same "
        f"everywhere; figures are the same on one kind of CPU and may differ in the third digit on another."
    )
