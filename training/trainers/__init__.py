"""Trainers: one module a framework, each with one function `fit`, and nothing of it imported before it is needed.

A trainer takes what the use case's builder returns, fits it, and gives back something that predicts and that can be
written as an ONNX graph. Losses are not weighted by class: a score is then the probability of fraud, and on the
simulated payments a weight of 10 on frauds lost .02 to .04 of average precision.

The networks' `params` may hold the fields of `Epochs`; the trainer takes those, the builder gets the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.contract import load_dotted
from mlops.errors import ConfigError
from mlops.schema import Task
from training.examples import Examples

__all__ = ["Epochs", "Fit", "Fitted", "Log", "Place", "epochs_of", "trainer_for"]

Floats = NDArray[np.float32]
Log = Callable[[str, float, int], None]  # name, value, step
Builder = Callable[..., Any]


class Fitted(Protocol):
    """A fitted model."""

    def predict(self, features: Floats) -> Floats:
        """features [n, f] float32 → probability of the positive class, or the quantity, [n] float32."""

    def export(self) -> bytes:
        """The model as ONNX: `features` float32 [n, f] → `score` float32 [n], n free."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fit may write: metrics by step, and checkpoints to go on from after it was killed, if it keeps any.

    `code` is a digest of the code that it follows from: a checkpoint of other code is not gone on from.
    """

    log: Log
    checkpoints: Path | None = None
    code: str = ""


class Fit(Protocol):
    """Build a model with `builder(seed=, n_features=, **params)` and fit it to the examples.

    Labels are 0 or 1, or quantities, as the task has it. The same examples, parameters and seed give the same model.
    """

    def __call__(
        self,
        builder: Builder,
        params: Mapping[str, Any],
        examples: Examples,
        *,
        task: Task,
        seed: int,
        place: Place,
    ) -> Fitted: ...


class Epochs(msgspec.Struct, frozen=True, kw_only=True):
    """How a network is fitted: with Adam, or with the optimizer that a Keras model was compiled with.

    Fields:
        epochs: how often each example is learned from, at most.
        batch_size: of all processes together, if there are several.
        patience: after how many epochs without a lower loss on held-out examples to stop, and to go back to the best
            one; 0 holds none out, and stops after the last epoch.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    patience: int = 0


_TRAINERS = {
    "scikit-learn": "training.trainers.sklearn:fit",
    "pytorch": "training.trainers.torch:fit",
    "tensorflow": "training.trainers.keras:fit",
    "xgboost": "training.trainers.xgboost:fit",
}


def trainer_for(framework: str) -> Fit:
    """The trainer of a framework, by its short name or by the dotted path of its `fit`; imports the framework.

    Raises:
        ConfigError: none is known for it.
    """
    if framework not in _TRAINERS and ":" not in framework:
        raise ConfigError(
            f"no trainer for {framework!r}",
            todo=f"choose one of {', '.join(_TRAINERS)}, or name a function as package.module:fit",
        )
    fit: Fit = load_dotted(_TRAINERS.get(framework, framework))
    return fit


def epochs_of(params: Mapping[str, Any]) -> tuple[Epochs, dict[str, Any]]:
    """The fields of `Epochs` in `params`, and the rest.

    Raises:
        ConfigError: a value of the wrong type.
    """
    own = {key: value for key, value in params.items() if key in Epochs.__struct_fields__}
    try:
        return msgspec.convert(own, Epochs), {k: v for k, v in params.items() if k not in own}
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where="params") from None
