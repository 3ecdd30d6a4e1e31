"""The contract: what a use case hands to the platform."""

from __future__ import annotations

import importlib
from typing import Any, Literal

import msgspec

from mlops.errors import ConfigError
from mlops.features import Calendar, Count, FeatureSet, Rate, Ratio, Rolling, Value, duration_us
from mlops.policy import Policy
from mlops.schema import EventSchema, Label

__all__ = ["Candidate", "Framework", "UseCase", "load_dotted", "load_use_case"]

Framework = Literal["scikit-learn", "pytorch", "tensorflow"]

_NUMBERS = ("decimal", "float", "integer", "boolean")
_SUMMED = ("decimal", "integer", "boolean")
_KEYS = ("id", "text", "integer", "boolean")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model to train: `builder` is the dotted path `package.module:function` of what makes it.

    The function gets `params` and, as `seed` and `n_features`, what every model needs to know, and returns an
    unfitted scikit-learn classifier, a `torch.nn.Module` that gives logits, or a compiled Keras model.
    """

    name: str
    framework: Framework
    builder: str
    params: dict[str, Any] = {}


class UseCase(msgspec.Struct, frozen=True, kw_only=True):
    """One typed object a use case.

    `card` is the column whose alerts are counted in card precision@k, `amount` the column that costs are counted in.
    `world` and `simulator` are the dotted paths of a struct of knobs and of the function `(world, folder)` that
    writes the events of such a world, for a use case that has a simulator.
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
    world: str = ""
    simulator: str = ""

    def __post_init__(self) -> None:
        where = f"use case {self.name}"
        if not self.candidates:
            raise ConfigError("no candidates", where=where)
        for name in (self.label.column, self.card, self.amount):
            if name:
                self.events.column(name)
        for feature in self.features.features:
            if isinstance(feature, Value):
                self._check_value(feature, where)
            elif isinstance(feature, Rolling):
                self._check_rolling(feature, where)
            elif not isinstance(feature, (Calendar, Ratio)):
                raise ConfigError(f"unknown kind of feature {feature!r}", where=where)

    def _check_value(self, feature: Value, where: str) -> None:
        if feature.column == self.label.column:
            raise ConfigError(
                "the label is a feature", where=where, todo="remove it: it is what is predicted"
            )
        column = self.events.column(feature.column)
        if column.type not in _NUMBERS:
            raise ConfigError(
                f"{column.name} is {column.type}: a feature is a number",
                where=where,
                todo=f"types that can be one: {', '.join(_NUMBERS)}",
            )

    def _check_rolling(self, feature: Rolling, where: str) -> None:
        key = self.events.column(feature.key)
        if key.name == self.label.column:
            raise ConfigError(
                "the label is a key: events would be counted with others of their class",
                where=where,
                todo="use another key: anything that knows the label at once is a leak",
            )
        if key.nullable or key.type not in _KEYS:
            raise ConfigError(
                f"{key.name} cannot be a key: it is {'nullable' if key.nullable else key.type}",
                where=where,
                todo=f"a key is never null, and one of {', '.join(_KEYS)}",
            )
        if isinstance(feature.agg, Count):
            return
        column = self.events.column(feature.agg.column)
        if isinstance(feature.agg, Rate) and column.type != "boolean":
            raise ConfigError(
                f"{column.name} is {column.type}: a rate is the share of events for which a boolean is true",
                where=where,
                todo="declare the column boolean, or take its mean",
            )
        if column.type not in _SUMMED:
            raise ConfigError(f"{column.name} is {column.type}: only exact types are summed", where=where)
        delay_us = duration_us(feature.delay) if feature.delay else 0
        if column.name == self.label.column and delay_us < self.label.delay_days * duration_us("1d"):
            raise ConfigError(
                f"{column.name} is known {self.label.delay_days} days after the event, but used after "
                f"{feature.delay or '0d'}",
                where=where,
                todo="give the aggregate at least the label's delay: anything less is a leak",
            )


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
