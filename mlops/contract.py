"""The contract: what a use case hands to the platform."""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal, get_args

import msgspec

from mlops.errors import ConfigError
from mlops.features import Aggregate, FeatureSet
from mlops.leaks import check_features
from mlops.policy import Policy, Split
from mlops.schema import EventSchema, Label, Task, task_of
from mlops.search import Space, check_search
from mlops.slices import Slice

__all__ = ["EFFORTS", "Candidate", "Effort", "UseCase", "load_dotted", "load_use_case"]

Effort = Literal["quick", "standard", "full"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
Calibration = Literal["", "sigmoid", "isotonic"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model to train: `builder` is the dotted path `package.module:function` of what makes it.

    The function gets `params` and, as `seed` and `n_features`, what every model needs to know, and returns what the
    trainer of its framework fits: an unfitted scikit-learn classifier or regressor, a `torch.nn.Module` that gives
    logits or quantities, a compiled Keras model that gives probabilities or quantities.

    Fields:
        framework: the short name of a trainer of `training.trainers`, or the dotted path of another's `fit`.
        search: what may be tuned: a space for each parameter.
        features: what it reads, some of the use case's features; all of them unless given.
        effort: the least effort at which it is trained.
        calibration: how its scores are made probabilities, on events that it was not trained on; "" leaves them.
    """

    name: str
    framework: str
    builder: str
    params: dict[str, Any] = {}
    search: dict[str, Space] = {}
    features: FeatureSet | None = None
    effort: Effort = "quick"
    calibration: Calibration = ""


class UseCase(msgspec.Struct, frozen=True, kw_only=True):
    """One typed object a use case. Whether it is classification or regression follows from its label.

    `features` are all that the feature table holds. `card` is the column whose alerts are counted in card
    precision@k, `amount` the column that costs are counted in; `slices` are the parts of the events that models are
    judged on one by one.
    `world` and `simulator` are the dotted paths of a struct of knobs and of the function `(world, folder, run)` that
    writes the events of such a world, for a use case that has a simulator (`run(function, tasks)` is `map`, or runs
    such tasks on other machines); `source` is that of the function `(folder)` that writes the files of a public
    table, for one that has such a table.
    """

    name: str
    title: str
    events: EventSchema
    label: Label
    features: FeatureSet
    candidates: tuple[Candidate, ...]
    policy: Policy
    card: str = ""
    amount: str = ""
    slices: tuple[Slice, ...] = ()
    world: str = ""
    simulator: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        where = f"use case {self.name}"
        for name in (self.name, *(candidate.name for candidate in self.candidates)):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{name!r} is no name: files are called by it",
                    where=where,
                    todo="use letters, digits, hyphens and underscores",
                )
        if not self.candidates:
            raise ConfigError("no candidates", where=where)
        for name in (self.label.column, self.card, self.amount):
            if name:
                self.events.column(name)
        for name in self.label.details:
            self.events.column(name)
        check_features(self.features, self.events, self.label, where)
        self._check_candidates(where)
        self._check_slices(where)
        self._check_task(where)
        self._check_split(where)
        self._check_hashed(where)

    @property
    def task(self) -> Task:
        return task_of(self.events, self.label)

    def candidate(self, name: str) -> Candidate:
        """The candidate called `name`.

        Raises:
            ConfigError: there is none.
        """
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        names = ", ".join(candidate.name for candidate in self.candidates)
        raise ConfigError(f"no candidate {name!r}", where=self.name, todo=f"choose one of {names}")

    def features_of(self, candidate: Candidate) -> FeatureSet:
        """What the candidate reads."""
        return candidate.features or self.features

    def _check_candidates(self, where: str) -> None:
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) != len(names):
            raise ConfigError("two candidates have one name", where=where)
        if "quick" not in {candidate.effort for candidate in self.candidates}:
            raise ConfigError("no candidate for effort quick", where=where, todo="let one be trained always")
        for candidate in self.candidates:
            check_search(candidate.search, candidate.params, f"candidate {candidate.name}")
            if candidate.calibration:
                self._check_calibration(f"{where}, candidate {candidate.name}")
            own = self.features_of(candidate).features
            if other := [name for f in own if f not in self.features.features for name in f.names]:
                raise ConfigError(
                    f"candidate {candidate.name} reads {', '.join(other)}, which the use case does not declare",
                    where=where,
                    todo="add it to the use case's features: the feature table holds those",
                )

    def _check_calibration(self, where: str) -> None:
        split = self.policy.split
        if self.task != "classification":
            raise ConfigError("a quantity is not calibrated", where=where, todo="leave out `calibration`")
        if not (split.delay_days if isinstance(split, Split) else split.validation):
            raise ConfigError(
                "no events to calibrate on: none lie between training and test",
                where=where,
                todo="leave out `calibration`, or give the split in policy.yaml a delay or a validation share",
            )

    def _check_slices(self, where: str) -> None:
        for one in self.slices:
            if one.column:
                self.events.column(one.column)
            elif one.feature not in self.features.names:
                raise ConfigError(f"slice {one.name} is of {one.feature}, which is no feature", where=where)

    def _check_task(self, where: str) -> None:
        if self.task == "classification":
            return
        if self.card or self.policy.costs is not None:
            raise ConfigError(
                "cards and costs are counted by class, and the label is a quantity",
                where=where,
                todo="leave out `card`, and `costs` in policy.yaml",
            )
        if any(self.label.column in _read_by(a) for a in self.features.aggregates):
            raise ConfigError(
                f"a window looks at {self.label.column}, a quantity",
                where=where,
                todo="only labels that are a boolean can be looked back on",
            )

    def _check_split(self, where: str) -> None:
        split = self.policy.split
        by_time = isinstance(split, Split)
        if isinstance(split, Split) and split.delay_days < self.label.delay_days:
            raise ConfigError(
                f"labels are known after {self.label.delay_days} days, and the split waits {split.delay_days}: "
                "models would be trained on labels that nobody has yet",
                where=where,
                todo=f"set `delay_days: {self.label.delay_days}` or more in policy.yaml",
            )
        if by_time and not self.events.time:
            raise ConfigError(
                "the events have no time to split them by",
                where=where,
                todo="split `by: random` in policy.yaml",
            )
        if not by_time and (self.features.aggregates or self.card):
            raise ConfigError(
                "windows and cards need a split by time: drawn at random, what is trained on would know of what is "
                "tested on",
                where=where,
                todo="split `by: time` in policy.yaml",
            )

    def _check_hashed(self, where: str) -> None:
        read = {a.where.column for a in self.features.aggregates if a.where}
        for name in self.policy.decisions.hash:
            column = self.events.column(name)
            if name == self.events.id or name in (*self.label.columns, *read):
                what = f"{name} is the event's id, of the label, or read by a condition"
            elif column.type not in ("id", "text") or column.values:
                what = f"{name} is {'one of a few values' if column.values else column.type}"
            else:
                continue
            raise ConfigError(
                f"{what}, and cannot be hashed",
                where=f"{where}, decisions",
                todo="name ids and free text in policy.yaml",
            )


def _read_by(aggregate: Aggregate) -> tuple[str, ...]:
    condition = (aggregate.where.column,) if aggregate.where else ()
    return (getattr(aggregate.agg, "column", ""), *condition)


def load_dotted(path: str) -> Any:
    """What `package.module:name` names.

    Raises:
        ConfigError: not such a path, or no such module or name.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(
            f"{module_name!r} is not the name of a module", where=path, todo="write it as package.module"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"no module {error.name!r}", where=path) from error
    if not hasattr(module, name):
        raise ConfigError(f"module {module_name} has no {name!r}", where=path)
    return getattr(module, name)


def load_use_case(package: str) -> UseCase:
    """The `USE_CASE` of a package such as `usecases.fraud`.

    Raises:
        ConfigError: there is none.
    """
    use_case = load_dotted(f"{package}:USE_CASE")
    if not isinstance(use_case, UseCase):
        raise ConfigError("USE_CASE is not a UseCase", where=package)
    return use_case
