"""PyTorch modules that give logits or quantities, exported by torch.onnx.

On a GPU where there is one, and on several, of one machine or many, under torchrun: see `training.trainers.torch_team`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlops.schema import Task
from training.examples import Examples
from training.onnx_graph import serving_graph
from training.trainers import Fitted, Floats, Place, epochs_of, torch_team
from training.trainers.loop import about, label_scale, train
from training.trainers.team import Team

__all__ = ["fit"]

_PREDICT_ROWS = 16_384


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
    def __init__(self, scorer: nn.Module, n_features: int) -> None:
        self._scorer, self._n_features = scorer.cpu().eval(), n_features

    @torch.no_grad()
    def predict(self, features: Floats) -> Floats:
        parts = torch.from_numpy(features).split(_PREDICT_ROWS)
        score: Floats = torch.cat([self._scorer(part).flatten() for part in parts]).numpy()
        return score

    def export(self) -> bytes:
        # The exporter warns of packages that nobody here needs.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings(
                "ignore", "The tensor attributes .* were assigned during export"
            )  # of a GRU
            program = torch.onnx.export(
                self._scorer,
                (torch.zeros(2, self._n_features),),
                dynamo=True,
                dynamic_shapes={"features": {0: torch.export.Dim("n")}},
                verbose=False,
            )
        assert program is not None
        return serving_graph(program.model_proto.SerializeToString())


class _Network:
    """See `training.trainers.loop.Network`. Each step draws from a seed of its own, so none depends on those before."""

    def __init__(
        self,
        module: nn.Module,
        *,
        task: Task,
        scale: tuple[float, float],
        learning_rate: float,
        device: torch.device,
        seed: int,
        team: Team,
    ) -> None:
        self._module = module.to(device)
        self._model = torch_team.averaging(module)
        self._optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
        self._loss_of = (nn.BCEWithLogitsLoss if task == "classification" else nn.MSELoss)(reduction="sum")
        self._scale, self._device, self._seed, self._team, self._steps = scale, device, seed, team, 0

    def step(self, features: Floats, labels: NDArray[Any], *, rows: int) -> Tensor:
        draw = np.random.SeedSequence((self._seed, self._team.rank, self._steps)).generate_state(1)
        torch.manual_seed(int(draw[0]))
        self._steps += 1
        self._model.train()
        self._optimizer.zero_grad()
        if len(labels):
            loss = self._loss(self._model, features, labels)
        else:  # the others wait for gradients
            loss = 0.0 * self._loss(self._model, np.zeros((1, features.shape[1]), np.float32), np.zeros(1))
        # Gradients are averaged over the processes; so each gives its part of the batch's mean, times their number.
        (loss * (self._team.world / rows)).backward()
        self._optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def loss(self, features: Floats, labels: NDArray[Any]) -> float:
        self._module.eval()
        parts = range(0, len(labels), _PREDICT_ROWS)
        losses = [
            self._loss(self._module, features[i : i + _PREDICT_ROWS], labels[i : i + _PREDICT_ROWS])
            for i in parts
        ]
        return sum(loss.item() for loss in losses)

    def state(self) -> bytes:
        buffer = BytesIO()
        held = {"module": self._module.state_dict(), "optimizer": self._optimizer.state_dict()}
        torch.save(held | {"steps": self._steps}, buffer)
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        held = torch.load(BytesIO(state), map_location=self._device, weights_only=True)
        self._module.load_state_dict(held["module"])
        self._optimizer.load_state_dict(held["optimizer"])
        self._steps = held["steps"]

    def _loss(self, model: nn.Module, features: Floats, labels: NDArray[Any]) -> Tensor:
        mean, scale = self._scale
        y = torch.from_numpy(((labels - mean) / scale).astype(np.float32)).to(self._device)
        loss: Tensor = self._loss_of(model(torch.from_numpy(features).to(self._device)).flatten(), y)
        return loss


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

    It is the same on one kind of CPU for one seed, however often it was killed and begun again.

    If the module has a method `adapt`, it is called once, before the first step, with an iterable of all training
    features: tensors [b, f], in the order of the examples.
    """
    epochs, own = epochs_of(params)
    team = torch_team.call(fit, builder, params, examples, task=task, seed=seed)
    device = _prepared(seed)
    model = builder(seed=seed, n_features=examples.n_features, **own)
    if hasattr(model, "adapt"):
        model.adapt(torch.from_numpy(features) for features, _ in examples.blocks())
    scale = label_scale(examples.labels, task)
    network = _Network(
        model, task=task, scale=scale, learning_rate=epochs.learning_rate, device=device, seed=seed, team=team
    )
    structure = f"{model} {epochs} torch {torch.__version__} {device.type}"
    of = about(builder, own, examples, task, seed, structure) if place.checkpoints else ""
    train(network, examples, epochs, seed=seed, place=place, about=of, team=team)
    scorer = _Probability(model) if task == "classification" else _Quantity(model, *scale)
    return _Fitted(scorer, examples.n_features)


def _prepared(seed: int) -> torch.device:
    """The device, with PyTorch set to give the same on it each time, as far as it can."""
    device = torch_team.device_here()
    # Read when CUDA starts; of the values for this, the one that PyTorch names for recurrent layers as well.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return device
