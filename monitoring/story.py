"""The demo's story as data: what `monitoring.page` draws, and nothing that it would have to compute.

Days are whole numbers, counted from the first day of the data set (day 0 = `day_zero`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal

import msgspec

from monitoring.results import DriftResult, PerformanceResult, Scores

__all__ = [
    "Candidate",
    "Check",
    "Curve",
    "DayScore",
    "Link",
    "Milestone",
    "Model",
    "Period",
    "Role",
    "Stage",
    "Story",
    "Training",
    "Window",
]

Role = Literal["before", "changed", "retrained", "unchanged", "counterfactual"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Model(_Part, frozen=True, kw_only=True):
    """A version in the registry."""

    version: str
    framework: str
    candidate: str

    def __str__(self) -> str:
        return f"v{self.version} {self.framework}"


class Window(_Part, frozen=True, kw_only=True):
    """A span of days, inclusive, on one lane of the timeline: `train`, `delay`, `test` or `replay`."""

    lane: str
    kind: Literal["train", "delay", "test", "quiet", "changed", "swap", "labels"]
    first_day: int
    last_day: int
    text: str


class Milestone(_Part, frozen=True, kw_only=True):
    """Something that happens at the start of a day."""

    day: int
    text: str
    kind: Literal["change", "alert", "model", "refusal", "neutral"] = "neutral"


class Curve(_Part, frozen=True, kw_only=True):
    """Points of a precision-recall curve, in order of recall, and the average precision that they stand for."""

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    ap: float


class Check(_Part, frozen=True, kw_only=True):
    """What one check of the gate said, None where it was not judged; numbers are written as they are to be read."""

    name: str
    observed: str
    limit: str
    passed: bool | None
    text: str = ""


class Candidate(_Part, frozen=True, kw_only=True):
    """A trained candidate, its scores on the test days and its way through the gate."""

    name: str
    framework: str
    auc: float
    ap: float
    cp100: float | None
    onnx_max_abs_diff: float
    seconds: float
    curve: Curve
    admitted: bool
    checks: tuple[Check, ...]


class Training(_Part, frozen=True, kw_only=True):
    """One training: when it was, its candidates, and which of them, if any, became champion.

    `title` says when, such as "before the change". `incumbent` is the curve of the champion of the time on the same
    test days, if there was one; `cp100_oracle` the card precision@100 of a scorer which knows the truth.
    """

    title: str
    train_days: tuple[int, int]
    test_days: tuple[int, int]
    candidates: tuple[Candidate, ...]
    promoted: str | None
    incumbent: Curve | None = None
    cp100_oracle: float | None = None


class DayScore(_Part, frozen=True, kw_only=True):
    """Average precision of one day with its bootstrap interval."""

    day: int
    ap: float
    low: float
    high: float
    frauds: int


class Period(_Part, frozen=True, kw_only=True):
    """How one model did over a span of days. `counterfactual` periods hold scores that nobody was served."""

    role: Role
    title: str
    first_day: int
    last_day: int
    model: str
    scores: Scores
    days: tuple[DayScore, ...]
    missing_labels: int = 0

    @classmethod
    def of(cls, result: PerformanceResult, *, role: Role, title: str, model: str, day_zero: date) -> Period:
        """A period from what monitoring measured, which must hold labelled events of a classification.

        Raises:
            ValueError: it holds none.
        """
        if not isinstance(result.period, Scores):
            raise ValueError(f"no label is in for {title}")

        def day(iso: str) -> int:
            return (date.fromisoformat(iso) - day_zero).days

        return cls(
            role=role,
            title=title,
            first_day=day(result.period.first_day),
            last_day=day(result.period.last_day),
            model=model,
            scores=result.period,
            days=tuple(
                DayScore(
                    day=day(s.first_day), ap=s.ap.value, low=s.ap.low, high=s.ap.high, frauds=s.positives
                )
                for s in result.days
                if isinstance(s, Scores) and s.ap is not None
            ),
            missing_labels=result.missing,
        )


class Stage(_Part, frozen=True, kw_only=True):
    """How long a stage of the run took."""

    name: str
    seconds: float


class Link(_Part, frozen=True, kw_only=True):
    """Where to look next: a relative `href`, or a `command` to type."""

    title: str
    text: str
    href: str = ""
    command: str = ""


class Story(_Part, frozen=True, kw_only=True):
    """The whole run.

    `periods` are in the order of days, counterfactual ones after what was really served; `trainings` in the order in
    which they took place, the first one before anything was served.
    """

    title: str
    seed: int
    day_zero: str
    cards: int
    days: int
    events_in: int
    events_good: int
    events_quarantined: int
    events_duplicate: int
    quarantine_reasons: dict[str, int]
    windows: tuple[Window, ...]
    milestones: tuple[Milestone, ...]
    trainings: tuple[Training, ...]
    champion_before: Model
    champion_after: Model
    periods: tuple[Period, ...]
    drift: DriftResult
    drift_days: tuple[int, int]
    parity_events: int
    feature_parity_max_abs_diff: float
    onnx_parity_max_abs_diff: float
    requests_sent: int
    requests_failed: int
    stages: tuple[Stage, ...]
    wall_seconds: float
    links: tuple[Link, ...] = ()

    @property
    def promoted(self) -> bool:
        """Whether retraining gave a new champion."""
        return self.champion_after.version != self.champion_before.version

    @property
    def refused(self) -> bool:
        """Whether a model was retrained, and none promoted."""
        return len(self.trainings) > 1 and not self.promoted

    def period(self, *roles: Role) -> Period | None:
        """The first period in one of `roles`."""
        return next((period for period in self.periods if period.role in roles), None)

    @property
    def counterfactual(self) -> Period | None:
        return self.period("counterfactual")

    @property
    def served(self) -> Sequence[Period]:
        """The periods in which these models really answered."""
        return [period for period in self.periods if period.role != "counterfactual"]
