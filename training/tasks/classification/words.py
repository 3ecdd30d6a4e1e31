"""What the model card says of a scorer of rare events."""

from __future__ import annotations

from mlops.bundle import Decisions
from mlops.metrics import Interval
from mlops.schema import Label
from training.tasks import CardParts, Figure, SliceColumn
from training.tasks.classification.evaluate import NEVER
from training.tasks.classification.figures import ClassificationEvaluation

__all__ = ["card_parts"]


def card_parts(evaluation: ClassificationEvaluation, decisions: Decisions | None, label: Label) -> CardParts:
    """See `training.tasks.CardParts`."""
    cards = evaluation.card_precision
    sections = [_calibration(evaluation, label)]
    if decisions is not None:
        sections.append(_decisions(decisions, evaluation, label))
    columns = [
        SliceColumn(key="ap", title="average precision", form=".3f"),
        SliceColumn(key="auc", title="AUC", form=".3f"),
        SliceColumn(key="expected", title=f"expected/observed {label.positives}", form=".2f"),
    ]
    if decisions is not None:
        columns += [
            SliceColumn(key="stopped", title=f"{label.positives} stopped", form=".0%"),
            SliceColumn(key="false_alarms", title="others stopped", form=".2%"),
        ]
    return CardParts(
        heads=(label.positives, "share"),
        train=_share(evaluation.train_positives, evaluation.train_events),
        test=_share(evaluation.positives, evaluation.events),
        figures=_figures(evaluation, label),
        interval="bootstraps by card and day" if cards else "bootstraps over the events",
        sections=tuple(sections),
        slice_columns=tuple(columns),
    )


def _figures(evaluation: ClassificationEvaluation, label: Label) -> tuple[Figure, ...]:
    cards, cost = evaluation.card_precision, evaluation.cost_interval
    found = [
        Figure.of("average precision", evaluation.ap, ".3f"),
        Figure(
            name="best single feature",
            value=f"{evaluation.baseline_ap:.3f}",
            note=f"average precision of {evaluation.baseline}",
        ),
        Figure.of("area under the ROC curve", evaluation.auc, ".3f"),
    ]
    if cards is not None and evaluation.card_precision_interval is not None:
        note = f"a perfect scorer reaches {cards.oracle:.3f}"
        found.append(Figure.of(f"card precision@{cards.k}", evaluation.card_precision_interval, ".3f", note))
    found += [
        Figure.of(
            "Brier score",
            evaluation.brier,
            ".5f",
            f"the share of {label.positives} alone has {evaluation.brier_constant:.5f}",
        ),
        Figure(name="expected calibration error", value=f"{evaluation.calibration_error:.5f}"),
    ]
    if cost is not None and evaluation.cost_approve_all is not None:
        note = f"approving everything costs {evaluation.cost_approve_all:,.0f}"
        found.append(Figure.of("cost of the decisions", cost, ",.0f", note))
    return tuple(found)


def _calibration(evaluation: ClassificationEvaluation, label: Label) -> str:
    expected = evaluation.expected
    lines = [
        "## Calibration",
        "",
        f"The scores of the test events add up to {expected.value * evaluation.positives:,.0f} {label.positives}, "
        f"where there are {evaluation.positives:,}: an expected/observed ratio of {_interval(expected, '.2f')}. Each "
        "bin below holds events with about the same sum of scores.",
        "",
        f"| scores | events | {label.positives} | mean score | share observed | interval |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for one in evaluation.reliability:
        share = one.observed
        lines.append(
            f"| {one.low:.4f} to {one.high:.4f} | {one.events:,} | {one.positives:,} | {one.mean_score:.4f} | "
            f"{share.value:.4f} | {share.low:.4f} to {share.high:.4f} |"
        )
    return "\n".join(lines)


def _decisions(decisions: Decisions, evaluation: ClassificationEvaluation, label: Label) -> str:
    cost, all_approved, total = evaluation.cost, evaluation.cost_approve_all, evaluation.cost_interval
    assert cost is not None and total is not None, "there are no decisions without costs"

    def band(name: str, counts: tuple[int, int], at: float | None) -> str:
        limit = "below" if at is None else "never" if at >= NEVER else f"from {at:.4f}"
        return f"| {name} | {limit} | {counts[0]:,} | {counts[1]:,} |"

    stopped = cost.reviewed[1] + cost.declined[1]
    lines = [
        "## Decisions",
        "",
        f"Thresholds: {decisions.chosen_by}. On the test events:",
        "",
        f"| decision | score | others | {label.positives} |",
        "|---|---|---:|---:|",
        band("decline", cost.declined, decisions.decline_at),
        band("review", cost.reviewed, decisions.review_at),
        band("approve", cost.approved, None),
        "",
        f"They stop {stopped:,} of {evaluation.positives:,} {label.positives}, and cost {cost.total:,.0f} "
        f"({total.confidence:.0%} interval {total.low:,.0f} to {total.high:,.0f}): {cost.reviews:,.0f} for reviews, "
        f"{cost.false_declines:,.0f} for others that were declined, {cost.missed_frauds:,.0f} for {label.positives} "
        f"that were missed. Approving everything would have cost {all_approved:,.0f}.",
    ]
    if (load := evaluation.workload) is not None:
        lines += [
            "",
            f"Reviews asked for: {load.mean:,.1f} a day, {load.most:,} on the busiest of {load.days} days.",
        ]
        if load.capacity is not None and load.days_over:
            lines[-1] += (
                f" There is capacity for {load.capacity:,} a day: on {load.days_over} days more is asked for, "
                f"{load.left_over:,} reviews in all that nobody would get to."
            )
        elif load.capacity is not None:
            lines[-1] += f" There is capacity for {load.capacity:,} a day, and no day asks for more."
    return "\n".join(lines)


def _share(positives: int, events: int) -> tuple[str, str]:
    return f"{positives:,}", f"{positives / events:.2%}"


def _interval(one: Interval, form: str) -> str:
    return f"{one.value:{form}} ({one.confidence:.0%} interval {one.low:{form}} to {one.high:{form}})"
