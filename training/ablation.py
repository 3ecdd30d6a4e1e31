"""What each group of features is worth: the candidate fitted again without it, and compared on the test rows.

Without a group is with a constant in its place, its median: so the model has as many inputs as ever, and one whose
parameters name an input by its place, or that reads a sequence, is fitted like any other.

Groups follow from the definitions: what is looked up by one key, what a label that came due says of a key, the
calendar, and the event's own values. A ratio belongs to the key of what it divides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.contract import Candidate, UseCase, load_dotted
from mlops.features import Calendar, Feature, FeatureSet, Last, Ratio, Rolling
from mlops.metrics import Interval
from training.dataset import Dataset
from training.examples import Batch, Examples
from training.split import Windows
from training.tasks import task_for
from training.trainers import Place, trainer_for

__all__ = ["Ablated", "ablate", "feature_groups"]


class Ablated(msgspec.Struct, frozen=True, kw_only=True):
    """A group of features, and what the headline figure drops by without it, with a paired bootstrap interval.

    The drop is of average precision, or of the root mean squared error as a share of the larger one; below 0, the
    model is better without them.
    """

    group: str
    features: tuple[str, ...]
    drop: Interval


class _Without:
    """Examples with some features held at a constant."""

    def __init__(self, examples: Examples, columns: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self._examples, self._columns, self._values = examples, columns, values
        self.n_features, self.labels = examples.n_features, examples.labels

    def __len__(self) -> int:
        return len(self._examples)

    def arrays(self) -> Batch:
        return self._held(self._examples.arrays())

    def blocks(self) -> Iterator[Batch]:
        return map(self._held, self._examples.blocks())

    def batches(self, size: int, *, epoch: int, seed: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        return map(self._held, self._examples.batches(size, epoch=epoch, seed=seed, rank=rank, world=world))

    def held_out(self, every: int) -> tuple[Examples, Examples]:
        rest, apart = self._examples.held_out(every)
        return _Without(rest, self._columns, self._values), _Without(apart, self._columns, self._values)

    def fingerprint(self) -> str:
        return f"{self._examples.fingerprint()} without {self._columns.tolist()}"

    def _held(self, batch: Batch) -> Batch:
        return self.hold(batch[0]), batch[1]

    def hold(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of features [n, f] with the constants in their places."""
        held = features.copy()
        held[:, self._columns] = self._values
        return held


def feature_groups(features: FeatureSet, label: str = "") -> dict[str, tuple[str, ...]]:
    """The names of the features of each group, in their order.

    Args:
        label: the column of the label: what looks back on it is a group of its own, as it comes late.
    """
    groups: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for feature in features.features:
        group = _group(feature, by_name, label)
        groups.setdefault(group, []).extend(feature.names)
        by_name |= dict.fromkeys(feature.names, group)
    return {group: tuple(names) for group, names in groups.items()}


def ablate(
    use_case: UseCase,
    candidate: Candidate,
    data: Dataset,
    windows: Windows,
    scores: NDArray[np.float32],
    *,
    seed: int,
    place: Place,
) -> tuple[Ablated, ...]:
    """Fit the candidate again without each group of its features, one after the other.

    Calibration is left out: it changes no ranking.

    Args:
        candidate: with the parameters that it was trained with.
        scores: its own, of each row of `data`.
        place: where the fits may log; checkpoints are not kept of them.
    """
    task, gate = task_for(use_case.task), use_case.policy.gate
    groups = feature_groups(use_case.features_of(candidate), use_case.label.column)
    if len(groups) < 2:
        return ()
    test, found = windows.test, []
    for group, names in groups.items():
        columns = np.array([data.names.index(name) for name in names])
        without = _Without(windows.examples, columns, np.median(data.features[test][:, columns], axis=0))
        fitted = trainer_for(candidate.framework)(
            load_dotted(candidate.builder),
            candidate.params,
            without,
            task=use_case.task,
            seed=seed,
            place=msgspec.structs.replace(place, checkpoints=None),
        )
        other = fitted.predict(without.hold(data.features[test]))
        drop = task.difference(data.label[test], scores[test], other, data, test, gate, seed=seed)
        found.append(Ablated(group=group, features=names, drop=drop))
    return tuple(found)


def _group(feature: Feature, by_name: Mapping[str, str], label: str) -> str:
    if isinstance(feature, Rolling):
        looks = {getattr(feature.agg, "column", ""), feature.where.column if feature.where else ""}
        return f"labels by {feature.key}" if label and label in looks else f"history by {feature.key}"
    if isinstance(feature, Last):
        return f"sequence by {feature.key}"
    if isinstance(feature, Calendar):
        return "calendar"
    if isinstance(feature, Ratio):
        parts = (by_name.get(name, "own values") for name in (feature.denominator, feature.numerator))
        return next((group for group in parts if group != "own values"), "own values")
    return "own values"
