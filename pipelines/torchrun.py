"""Training in the processes that torchrun starts, on one machine or on several that see one home.

    torchrun --nproc-per-node 2 -m pipelines train --candidate mlp-torch

The first process does all that `mlops train` does, and the others help it to fit PyTorch modules.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from functools import partial

from mlops.contract import Effort
from mlops.settings import Settings
from pipelines import lifecycle
from training.results import TrainResult

__all__ = ["several", "train_together"]


def several() -> bool:
    """Whether torchrun started this process and others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def train_together(
    settings: Settings, train_from: date | None, *, seed: int, effort: Effort, only: Sequence[str]
) -> tuple[tuple[TrainResult, ...], lifecycle.Release] | None:
    """Train candidates one after the other, each in all processes, and send them through the gate into the registry.

    One that cannot be trained ends it: the other processes may still be in the middle of its fit.

    Args:
        train_from: the first day of training; None for the latest that leaves room for the test.

    Returns:
        what came of it, in the first process only.

    Raises:
        what `lifecycle.train` and `lifecycle.judge` raise.
    """
    from training.trainers import torch_team

    if int(os.environ["RANK"]):
        torch_team.help_to_fit()
        return None
    with torch_team.leading():  # from the start, so that the others end with it, whatever it finds
        planned = lifecycle.plan(settings, train_from=train_from, only=only, effort=effort, seed=seed)
        train = partial(
            lifecycle.train_one,
            settings,
            first_day=planned.day,
            fingerprint=planned.fingerprint,
            seed=seed,
            effort=effort,
        )
        results = tuple(train(name) for name in planned.keys)
    return results, lifecycle.register(
        settings, results, [lifecycle.judge(settings, result) for result in results]
    )
