"""`python -m tests.training.killed FRAMEWORK FOLDER STEPS`: a fit that kills itself after so many steps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlops.contract import load_dotted
from training.examples import ArrayExamples, Batch
from training.trainers import Fitted, Place, loop, trainer_for

__all__ = ["examples", "fitted"]

BUILDERS = {"pytorch": "usecases.fraud.models:mlp_torch", "tensorflow": "usecases.fraud.models:mlp_keras"}
PARAMS = {"epochs": 6, "patience": 3, "hidden": 8, "batch_size": 64}  # 15 steps an epoch


class _Deadly(ArrayExamples):
    """Examples of which a batch is the last that anybody sees."""

    steps = 0

    def batches(self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in super().batches(size, epoch=epoch, seed=seed, rank=rank, world=world):
            if not self.steps:
                os.kill(os.getpid(), signal.SIGKILL)
            self.steps -= 1
            yield batch

    def held_out(self, every: int) -> tuple[ArrayExamples, ArrayExamples]:
        rest, apart = super().held_out(every)
        deadly = _Deadly(*rest.arrays())
        deadly.steps = self.steps
        return deadly, apart


def examples() -> ArrayExamples:
    """Some to learn from."""
    rng = np.random.default_rng(0)
    features = np.exp(rng.normal(size=(1_000, 6))).astype(np.float32)
    return ArrayExamples(features, (features[:, 0] > 2 * features[:, 1]).astype(np.int8))


def fitted(
    framework: str, folder: Path | None, rows: ArrayExamples | None = None
) -> tuple[Fitted, list[tuple[str, float, int]]]:
    """A fit to `rows`, and what it logged."""
    logged: list[tuple[str, float, int]] = []
    model = trainer_for(framework)(
        load_dotted(BUILDERS[framework]),
        PARAMS,
        rows or examples(),
        task="classification",
        seed=5,
        place=Place(log=lambda *entry: logged.append(entry), checkpoints=folder),
    )
    return model, logged


if __name__ == "__main__":
    loop.SAVE_EVERY_S = 0.0
    deadly = _Deadly(*examples().arrays())
    deadly.steps = int(sys.argv[3])
    fitted(sys.argv[1], Path(sys.argv[2]), deadly)
