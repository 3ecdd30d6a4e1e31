"""Good enough in itself, better than one feature alone, and better than the champion beyond noise."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from mlops.policy import Split
from training.checks import Check, not_judged
from training.dataset import parse_day
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
    compared = evidence.champion.compared.check
    if (seen := evidence.champion.trained_until) and seen >= (first := _first_test_day(evidence)):
        text = (
            f"Refused: the champion was trained until {seen}, and the test days begin on {first}; days that neither "
            "has seen are asked for."
        )
        return [msgspec.structs.replace(compared, passed=False, text=text)]
    return [compared]


def _first_test_day(evidence: Evidence) -> str:
    split = evidence.use_case.policy.split
    assert isinstance(split, Split), "only such a split has training days"
    return str(parse_day(evidence.result.first_day) + timedelta(split.train_days + split.delay_days))
