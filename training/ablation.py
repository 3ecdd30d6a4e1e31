"""What each group of features is worth: the candidate fitted again without it, and compared on the test rows.

Groups follow from the definitions: what is looked up by one key, what a label that came due says of a key, the
calendar, and the event's own values. A ratio belongs to the key of what it divides.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.contract import Candidate, UseCase, load_dotted
from mlops.features import Calendar, Feature, FeatureSet, Last, Ratio, Rolling
from mlops.metrics import Interval
from training.dataset import Dataset
from training.examples import ArrayExamples
from training.split import Windows
from training.tasks import task_for
from training.trainers import Place, trainer_for

__all__ = ["Ablated", "ablate", "feature_groups"]


class Ablated(msgspec.Struct, frozen=True, kw_only=True):
    """A group of features, and what the headline figure loses without it, with a paired bootstrap interval.

    The loss is of average precision, or of the root mean squared error as a share of the larger one; below 0, the
    model is better without them. None where the model cannot be fitted without the group.
    """

    group: str
    features: tuple[str, ...]
    loss: Interval | None


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

    Calibration is left out: it changes no ranking. A sequence model without its sequence is not fitted.

    Args:
        candidate: with the parameters that it was trained with.
        scores: its own, of each row of `data`.
        place: where the fits may log; checkpoints are not kept of them.
    """
    task, gate = task_for(use_case.task), use_case.policy.gate
    features = use_case.features_of(candidate)
    groups = feature_groups(features, use_case.label.column)
    if len(groups) < 2:
        return ()
    inputs, labels = windows.examples.arrays()
    test = windows.test
    found = []
    for group, names in groups.items():
        if _sequence(features, names, candidate.params):
            found.append(Ablated(group=group, features=names, loss=None))
            continue
        kept = np.array([place for place, name in enumerate(data.names) if name not in names])
        fitted = trainer_for(candidate.framework)(
            load_dotted(candidate.builder),
            candidate.params,
            ArrayExamples(np.ascontiguousarray(inputs[:, kept]), labels),
            task=use_case.task,
            seed=seed,
            place=msgspec.structs.replace(place, checkpoints=None),
        )
        without = fitted.predict(np.ascontiguousarray(data.features[test][:, kept]))
        loss = task.difference(data.label[test], scores[test], without, data, test, gate, seed=seed)
        found.append(Ablated(group=group, features=names, loss=loss))
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


def _sequence(features: FeatureSet, names: tuple[str, ...], params: Mapping[str, object]) -> bool:
    """Whether the parameters say how a sequence among these is laid out: such a model reads nothing else."""
    held = {name for feature in features.features if isinstance(feature, Last) for name in feature.names}
    return "fields" in params and not held.isdisjoint(names)
