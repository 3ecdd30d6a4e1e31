"""The models of the published tables, with the parameters that those searched.

Grids: Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapters 5 (logistic
regression, trees, forest, XGBoost) and 7 (network). The network's is smaller than the published one, which takes hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from itertools import product
from typing import Any

import msgspec

from mlops.contract import EFFORTS, Candidate, Effort

__all__ = ["HandbookModel", "decision_tree", "handbook_models", "network", "random_forest"]

_HERE = "training.handbook_models"


class HandbookModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its defaults (those of table A), and values to try for some of its parameters.

    Fields:
        thinned: of these parameters only the last value is tried at standard effort; it hardly ever loses.
    """

    candidate: Candidate
    grid: dict[str, tuple[Any, ...]]
    thinned: tuple[str, ...] = ()

    def every(self, effort: Effort) -> list[dict[str, Any]]:
        """The parameters to choose among; at effort quick the defaults only."""
        if effort == "quick":
            return [self.candidate.params]
        thin = self.thinned if effort == "standard" else ()
        values = [of[-1:] if name in thin else of for name, of in self.grid.items()]
        return [
            self.candidate.params | dict(zip(self.grid, point, strict=True)) for point in product(*values)
        ]


def handbook_models(effort: Effort) -> tuple[HandbookModel, ...]:
    """The published models that are trained at this effort, as far as this machine has the packages for them."""
    models = (
        HandbookModel(
            candidate=Candidate(
                name="logistic-regression",
                framework="scikit-learn",
                builder="training.builders:logistic_regression",
                params={"c": 1.0},
            ),
            grid={"c": (0.1, 1.0, 10.0, 100.0)},
        ),
        HandbookModel(
            candidate=Candidate(
                name="decision-tree",
                framework="scikit-learn",
                builder=f"{_HERE}:decision_tree",
                params={"depth": 2},
            ),
            grid={"depth": (2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50)},
        ),
        HandbookModel(
            candidate=Candidate(
                name="random-forest",
                framework="scikit-learn",
                builder=f"{_HERE}:random_forest",
                effort="standard",
            ),
            grid={"trees": (25, 50, 100), "depth": (5, 10, 20, 50)},
            thinned=("trees",),
        ),
        HandbookModel(
            candidate=Candidate(
                name="xgboost",
                framework="xgboost",
                builder="training.builders:xgboost_classifier",
                effort="standard",
            ),
            grid={"trees": (25, 50, 100), "depth": (3, 6, 9), "learning_rate": (0.3, 0.1)},
            thinned=("trees",),
        ),
        HandbookModel(
            candidate=Candidate(
                name="feed-forward-network",
                framework="pytorch",
                builder=f"{_HERE}:network",
                params={"epochs": 20, "batch_size": 64, "learning_rate": 1e-3},
                effort="standard",
            ),
            grid={"layers": (1, 2), "dropout": (0.0, 0.2)},
            thinned=("dropout",),
        ),
    )
    return tuple(
        model
        for model in models
        if EFFORTS.index(model.candidate.effort) <= EFFORTS.index(effort)
        and (model.candidate.framework != "xgboost" or find_spec("xgboost"))
    )


def decision_tree(*, seed: int, n_features: int, depth: int) -> Any:
    """One tree of at most so many levels."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=depth, random_state=seed)


def random_forest(*, seed: int, n_features: int, trees: int = 100, depth: int | None = None) -> Any:
    """A forest whose trees read √f features at each split."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, max_depth=depth, random_state=seed)


def network(*, seed: int, n_features: int, layers: int = 1, neurons: int = 500, dropout: float = 0.2) -> Any:
    """Layers of equal width, as a PyTorch module that gives logits [n, 1].

    The published one reads standardised features; the same on standardised log(1 + x) does better.
    """
    import torch
    from torch import Tensor, nn

    class Standardise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(n_features))
            self.register_buffer("scale", torch.ones(n_features))

        def forward(self, x: Tensor) -> Tensor:
            return (torch.log1p(x) - self.mean) / self.scale

    class Network(nn.Sequential):
        def adapt(self, blocks: Iterable[Tensor]) -> None:
            x = torch.log1p(torch.cat(list(blocks)))
            self[0].mean.copy_(x.mean(dim=0))
            self[0].scale.copy_(x.std(dim=0).clamp_min(1e-6))

    hidden: list[nn.Module] = []
    for width in (n_features, *[neurons] * (layers - 1)):
        hidden += [nn.Linear(width, neurons), nn.ReLU(), nn.Dropout(dropout)]
    return Network(Standardise(), *hidden, nn.Linear(neurons, 1))
