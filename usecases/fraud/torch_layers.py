"""Layers that the PyTorch models share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["LogStandardise"]


class LogStandardise(nn.Module):
    """log(1 + x) of non-negative features [n, f], standardised by what `adapt` has seen."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def adapt(self, blocks: Iterable[Tensor]) -> None:
        """Learn mean and standard deviation over blocks of rows [b, f]."""
        rows, total, squares = 0, torch.zeros(1).double(), torch.zeros(1).double()
        for block in blocks:
            logs = torch.log1p(block.double())
            rows += len(logs)
            total = total + logs.sum(dim=0)
            squares = squares + logs.square().sum(dim=0)
        mean = total / rows
        variance = (squares / rows - mean.square()).clamp_min(0) * (rows / max(rows - 1, 1))
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_(variance.sqrt().clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.log1p(x) - self.get_buffer("mean")) / self.get_buffer("scale")
