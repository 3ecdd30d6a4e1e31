"""Good enough in itself, better than one feature alone, and better than the champion beyond noise."""

from __future__ import annotations

from training.checks import Check, not_judged
from training.evidence import Evidence
from training.tasks import task_for

__all__ = ["champion", "performance"]


def performance(evidence: Evidence) -> list[Check]:
    """Enough events to judge by, and figures that are worth a model: see the task."""
    use_case = evidence.use_case
    return task_for(use_case.task).checks(evidence.result.figures, evidence.gate, use_case.label)


def champion(evidence: Evidence) -> list[Check]:
    """Better than the champion on the same events, at the lower end of a paired bootstrap interval."""
    if evidence.champion is None:
        return [
            not_judged("champion", evidence.gate.champion_margin, "there is no champion to be better than")
        ]
    return [evidence.champion.compared.check]
