"""PyTorch modules that give logits or quantities, exported by torch.onnx."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlops.schema import Task
from training.examples import Examples
from training.onnx_graph import serving_graph
from training.trainers import Fitted, Floats, Place, epochs_of

__all__ = ["fit"]


class _Probability(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.model(features))


class _Quantity(nn.Module):
    """Gives back the labels' unit to a model that was fitted to standardised labels."""

    def __init__(self, model: nn.Module, mean: float, scale: float) -> None:
        super().__init__()
        self.model, self.mean, self.scale = model, mean, scale

    def forward(self, features: Tensor) -> Tensor:
        return self.model(features) * self.scale + self.mean


class _Fitted:
    def __init__(self, scorer: nn.Module, example: Tensor) -> None:
        self._scorer, self._example = scorer.eval(), example

    @torch.no_grad()
    def predict(self, features: Floats) -> Floats:
        score: Floats = self._scorer(torch.from_numpy(features)).flatten().numpy()
        return score

    def export(self) -> bytes:
        # The exporter warns of packages that nobody here needs.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.onnx.export(
                self._scorer,
                (self._example,),
                dynamo=True,
                dynamic_shapes={"features": {0: torch.export.Dim("n")}},
                verbose=False,
            )
        assert program is not None
        return serving_graph(program.model_proto.SerializeToString())


def fit(
    builder: Callable[..., Any],
    params: Mapping[str, Any],
    examples: Examples,
    *,
    task: Task,
    seed: int,
    place: Place,
) -> Fitted:
    """Fit a module with Adam on the log loss, or on the squared error of standardised labels.

    It is the same on one kind of CPU for one seed.

    If the module has a method `adapt`, it is called once with all training features before the first step, as is
    done with Keras' normalisation layers.
    """
    epochs, params = epochs_of(params)
    features, labels = examples.arrays()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    model = builder(seed=seed, n_features=examples.n_features, **params)
    mean, scale = (0.0, 1.0) if task == "classification" else (float(labels.mean()), float(labels.std()))
    x, y = torch.from_numpy(features), torch.from_numpy(((labels - mean) / scale).astype(np.float32))
    if hasattr(model, "adapt"):
        model.adapt(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=epochs.learning_rate)
    loss_of = nn.BCEWithLogitsLoss() if task == "classification" else nn.MSELoss()
    model.train()
    for epoch in range(epochs.epochs):
        total = 0.0
        for rows in torch.randperm(len(x)).split(epochs.batch_size):
            optimizer.zero_grad()
            loss = loss_of(model(x[rows]).flatten(), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        place.log("train_loss", total / len(x), epoch)
    scorer = _Probability(model) if task == "classification" else _Quantity(model, mean, scale)
    return _Fitted(scorer, x[:2])
