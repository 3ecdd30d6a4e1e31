"""What the PyTorch models are made of."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["LogStandardise", "Recurrent"]


class LogStandardise(nn.Module):
    """log(1 + x) of non-negative features [n, f], standardised by what `adapt` has seen."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self._rows, self._sum, self._squares = 0, torch.zeros(1).double(), torch.zeros(1).double()

    def adapt(self, blocks: Iterable[Tensor]) -> None:
        """Learn mean and standard deviation over blocks of rows [b, f]."""
        for block in blocks:
            self.see(block)
        self.settle()

    def see(self, block: Tensor) -> None:
        """Count rows [b, f] in."""
        logs = torch.log1p(block.double())
        self._rows += len(logs)
        self._sum = self._sum + logs.sum(dim=0)
        self._squares = self._squares + logs.square().sum(dim=0)

    def settle(self) -> None:
        """Standardise by the rows that were seen from now on."""
        mean = self._sum / self._rows
        variance = (self._squares / self._rows - mean.square()).clamp_min(0)
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_(variance.sqrt().clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.log1p(x) - self.get_buffer("mean")) / self.get_buffer("scale")


class Recurrent(nn.Module):
    """A GRU over `n` steps of `fields` values, and two layers over its last state and the other features.

    The steps are the last n · fields of the features [b, f], by field, the newest first; a step is left out where its
    values are below 0. Each step says how long it is ago, so what is left out at the oldest end only comes first.
    """

    def __init__(
        self, n_features: int, *, n: int, fields: int, recurrent: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.steps, self.fields, self.others = n, fields, n_features - n * fields
        self.standardise = LogStandardise(self.others)
        self.standardise_steps = LogStandardise(fields)
        self.gru = nn.GRU(fields + 1, recurrent, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(self.others + recurrent, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def adapt(self, blocks: Iterable[Tensor]) -> None:
        """Learn the standardisation of both kinds of features over blocks of rows [b, f]."""
        for block in blocks:
            steps = self._sequence(block)
            self.standardise.see(block[:, : self.others])
            self.standardise_steps.see(steps[steps[:, :, 0] >= 0])
        self.standardise.settle()
        self.standardise_steps.settle()

    def forward(self, features: Tensor) -> Tensor:
        steps = self._sequence(features)
        there = (steps[:, :, :1] >= 0).float()
        steps = self.standardise_steps(steps.clamp_min(0)) * there
        states, _ = self.gru(torch.cat([steps, there], dim=2))
        others = self.standardise(features[:, : self.others])
        return self.head(torch.cat([others, states[:, -1]], dim=1))

    def _sequence(self, features: Tensor) -> Tensor:
        """[b, n, fields], the oldest first."""
        steps = features[:, self.others :].reshape(-1, self.fields, self.steps)
        return steps.transpose(1, 2).flip(1)
