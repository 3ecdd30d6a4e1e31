"""`python -m training`: train one candidate; under torchrun, in as many processes as that starts.

    torchrun --nproc-per-node 2 -m training --candidate mlp-torch --first-day 2018-07-25

The first process does what it would do alone, and the others help it to fit PyTorch modules. It prints the result as
JSON.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlops.contract import EFFORTS
from mlops.errors import MlopsError
from mlops.quiet import telemetry_off
from mlops.settings import Settings
from training.results import TrainResult, TrainSpec
from training.train import train_candidate

__all__ = ["main", "spec_of"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; return the exit code: 0, or that of the error."""
    telemetry_off()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        result = _train(spec_of(arguments))
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if result is not None:
        print(msgspec.json.encode(result, enc_hook=str).decode())
    return 0


def _train(spec: TrainSpec) -> TrainResult | None:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return train_candidate(spec)
    from training.trainers import torch_team

    if int(os.environ["RANK"]):
        torch_team.help_to_fit()
        return None
    with torch_team.leading():
        return train_candidate(spec)


def spec_of(arguments: Sequence[str] | None = None) -> TrainSpec:
    """What to train, by the command line; that of this process if none is given.

    Raises:
        ConfigError: a setting that does not fit.
    """
    parser = argparse.ArgumentParser(prog="python -m training", description="Train one candidate.")
    parser.add_argument("--home", type=Path, help="folder of everything that a run writes")
    parser.add_argument("--usecase", help="the use case's package")
    parser.add_argument("--candidate", required=True, help="the name of one of its candidates")
    parser.add_argument("--features", type=Path, help="the feature table, unless it is the home's")
    parser.add_argument("--first-day", default="", help="first day of training, where the split is by time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", choices=EFFORTS, default="quick")
    parser.add_argument("--out", type=Path, help="where the bundle goes, unless it is the home's bundles")
    options = parser.parse_args(arguments)
    settings = Settings.from_env(home=options.home, usecase=options.usecase)
    return TrainSpec(
        settings=settings,
        candidate=options.candidate,
        features=options.features or settings.features,
        first_day=options.first_day,
        seed=options.seed,
        effort=options.effort,
        out=options.out or settings.bundles,
    )


if __name__ == "__main__":
    sys.exit(main())
