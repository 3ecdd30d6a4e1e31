"""What a run is to train, determined once: which candidates, on which days, of which feature table.

A run has many tasks, in many processes or pods and over hours, and may be begun again after it was killed. Meanwhile
others may write events and features to the same home. What each task would find out for itself could differ from what
the last one found; so they are given this plan, and refuse a table that is not the one that it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from mlops.contract import EFFORTS, Effort
from mlops.home import use_case_of
from mlops.settings import Settings, without_password
from mlops.tables import read_feature_table
from pipelines.staged import current
from pipelines.training_day import default_training_day
from training.lineage import code_digest

__all__ = ["TrainingPlan", "candidates", "digest_of", "plan"]


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The trainings of a run.

    Fields:
        first_day: of training, ISO date; empty where the split is at random.
        fingerprint: of the feature table.
        keys: each candidate by its name, with a digest that is another if anything differs that its training follows
            from or is kept in: the features, their definitions, the policy, the code, the packages, the seed, all that
            is asked for, the home and MLflow. What was trained under a key need not be trained again.
    """

    first_day: str
    fingerprint: str
    keys: dict[str, str]

    @property
    def day(self) -> date | None:
        """The first day of training, or None."""
        return date.fromisoformat(self.first_day) if self.first_day else None


def candidates(settings: Settings, *, effort: Effort = "quick", only: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the use case's candidates that are worth this effort, or `only` these.

    Raises:
        ConfigError: no such candidate.
    """
    use_case = use_case_of(settings)
    worth = EFFORTS[: EFFORTS.index(effort) + 1]
    names = only or [c.name for c in use_case.candidates if c.effort in worth]
    return tuple(dict.fromkeys(use_case.candidate(name).name for name in names))


def plan(
    settings: Settings,
    *,
    train_from: date | None = None,
    only: Sequence[str] = (),
    effort: Effort = "quick",
    seed: int = 0,
    table: Path | None = None,
) -> TrainingPlan:
    """Plan a run: `candidates`, from the day that is asked for or the latest possible, on the table as it is now.

    Args:
        table: the feature table, the home's own unless given.

    Raises:
        ConfigError: no such candidate.
        InputError: there are no features, or the events do not span the days of one split.
    """
    use_case = use_case_of(settings)
    names = candidates(settings, effort=effort, only=only)
    first_day = train_from or default_training_day(settings)
    fingerprint = read_feature_table(table or current(settings.features, settings.features_uri)).fingerprint
    return TrainingPlan(
        first_day=first_day.isoformat() if first_day else "",
        fingerprint=fingerprint,
        keys={
            name: digest_of(
                {
                    "where": (settings.home, settings.usecase, without_password(settings.mlflow_uri)),
                    "candidate": name,
                    "first day": first_day,
                    "seed": seed,
                    "effort": effort,
                    "features": fingerprint,
                    "use case": use_case,
                    "code": code_digest(settings.usecase, use_case.candidate(name)),
                }
            )
            for name in names
        },
    )


def digest_of(value: Any) -> str:
    """What a value made of plain data, paths and days is known by: 32 hexadecimal digits."""
    encoded = msgspec.json.encode(value, enc_hook=_plain, order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:32]


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
