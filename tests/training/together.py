"""`torchrun -m tests.training.together FILE [one-gpu]`: scores of fits without dropout, by however many processes.

With `one-gpu` they believe that there is one GPU, which they would have to share.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from mlops.contract import load_dotted
from tests.training.killed import examples
from training.trainers import Place, torch_team
from training.trainers.torch import fit

__all__ = ["scores", "write_scores"]

# The last batch of an epoch has one row, so one of two processes has none of it.
PARAMS = {"epochs": 4, "patience": 3, "hidden": 8, "batch_size": 29, "dropout": 0.0, "learning_rate": 5e-3}


def scores() -> np.ndarray:
    """Of all examples."""
    model = fit(
        load_dotted("usecases.fraud.models:mlp_torch"),
        PARAMS,
        examples(),
        task="classification",
        seed=0,
        place=Place(log=lambda *_: None),
    )
    return model.predict(examples().arrays()[0])


def write_scores(target: Path) -> None:
    """Of two fits, one after the other, by the processes that torchrun started."""
    if int(os.environ["RANK"]):
        torch_team.help_to_fit()
        return
    with torch_team.leading():
        np.save(target, np.stack([scores(), scores()]))


def believe_in_one_gpu() -> None:
    """As PyTorch would say it; whoever goes on to compute on it fails."""
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(uuid="GPU-0")


if __name__ == "__main__":
    if "one-gpu" in sys.argv:
        believe_in_one_gpu()
    write_scores(Path(sys.argv[1]))
