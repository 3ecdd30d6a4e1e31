"""No part of the events on which the candidate is surely worse than the champion by more than a margin.

Slices are small and many, so the difference of each has a wide interval, and the worst of them is bad by chance. A
slice refuses only if the upper end of its interval lies below the margin. Without a champion nothing is judged: what a
model reaches in a slice depends on how rare positives are there, so that the whole is no measure for a part.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlops import metrics, regression
from mlops.metrics import Interval
from mlops.metrics.bootstrap import Statistic
from mlops.slices import SliceRows
from training.checks import Check, at_least, not_judged
from training.evidence import Champion, Evidence
from training.tasks.classification import clusters_of

__all__ = ["slices"]


def slices(evidence: Evidence) -> list[Check]:
    """The slice on which the candidate is most surely worse than the champion."""
    gate, champion = evidence.gate, evidence.champion
    limit = -gate.slice_margin
    if not evidence.use_case.slices:
        return [not_judged("slices", limit, "the use case declares no slices")]
    if champion is None:
        return [not_judged("slices", limit, "there is no champion to compare with, slice by slice")]
    if evidence.use_case.task == "classification":
        gains, unit = _precision_gains(evidence, champion), "average precision"
        support, form = f"{gate.min_slice_positives} {evidence.use_case.label.positives}", "+.3f"
    else:
        gains, unit = _error_gains(evidence, champion), "root mean squared error"
        support, form = f"{gate.min_slice_events} events", "+.1%"
    if not gains:
        return [not_judged("slices", limit, f"no slice has {support}")]
    worst = min(gains, key=lambda name: gains[name].high)
    gain = gains[worst]
    fact = (
        f"of {len(gains)} slices with at least {support}, the candidate does worst against the champion where {worst}: "
        f"{gain.value:{form}} of {unit}, with a {gain.confidence:.0%} interval of {gain.low:{form}} to "
        f"{gain.high:{form}}"
    )
    return [at_least("slices", gain.high, limit, fact, f"an upper end of at least {limit:{form}}")]


def _precision_gains(evidence: Evidence, champion: Champion) -> Mapping[str, Interval]:
    """The difference in average precision, by slice; all from the same draws of cards and days."""
    gate, labels = evidence.gate, evidence.labels
    cluster = clusters_of(champion.data, champion.rows)
    judged = [part for part in champion.slices if labels[part.rows].sum() >= gate.min_slice_positives]

    def difference(part: SliceRows) -> Statistic:
        ours, theirs = (
            metrics.ranking_statistic(labels, scores, cluster, part.rows)
            for scores in (evidence.scores, champion.scores)
        )
        return lambda draws: {"ap": ours(draws)["ap"] - theirs(draws)["ap"]}

    found = metrics.bootstrap(
        [difference(part) for part in judged],
        cluster,
        rounds=gate.bootstrap,
        confidence=gate.confidence,
        seed=evidence.result.seed,
    )
    return {_name(part): one["ap"] for part, one in zip(judged, found, strict=True) if "ap" in one}


def _error_gains(evidence: Evidence, champion: Champion) -> Mapping[str, Interval]:
    """By what share of the champion's the root mean squared error is smaller, by slice."""
    gate = evidence.gate

    def gain(rows: NDArray[np.bool_]) -> Interval:
        return regression.paired_rmse_gain(
            evidence.labels[rows],
            evidence.scores[rows],
            champion.scores[rows],
            rounds=gate.bootstrap,
            confidence=gate.confidence,
            seed=evidence.result.seed,
        )

    judged = [part for part in champion.slices if part.rows.sum() >= gate.min_slice_events]
    return {_name(part): gain(part.rows) for part in judged}


def _name(part: SliceRows) -> str:
    return f"{part.name} is {part.value}"
