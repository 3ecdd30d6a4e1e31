"""The arguments of a run of the Kubeflow pipeline, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.event_places import must_be_there
from pipelines.kubeflow_steps import TODAY, not_in_loop
from pipelines.parameters import day, effort, no_password
from pipelines.training_plan import candidates

__all__ = ["checked", "checked_here", "checked_there"]

_KINDS = {"STRING": str, "BOOLEAN": bool, "NUMBER_INTEGER": int, "LIST": list}
_DAYS = ("as_of", "train_from", "monitor_as_of", "against")
_SEEDS = 2**32  # what scikit-learn takes


def checked(compiled: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, if the compiled pipeline has parameters of these names and types, and they make sense anywhere.

    Raises:
        ConfigError: it has not, or is no pipeline; a day, an effort or a seed is none; or one holds a password, and
            Kubeflow keeps and shows arguments.
    """
    return _checked(_pipeline(compiled), arguments)


def _checked(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    inputs = _root(spec)
    for name, value in arguments.items():
        if name not in inputs:
            raise ConfigError("no such parameter", where=name, todo=f"it has {', '.join(inputs)}")
        kind = _KINDS[inputs[name]["parameterType"]]
        if type(value) is not kind:
            raise ConfigError(f"{value!r} is not of type {kind.__name__}", where=name)
        if isinstance(value, str):
            no_password(value, name, engine="Kubeflow")
        _check_value(name, value)
    return dict(arguments)


def checked_here(settings: Settings, compiled: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a run on this machine, if they are `checked` and name what there is here.

    The pipeline's own `events` are a cluster's deliveries.

    Raises:
        ConfigError: see `checked`; or no events, or candidates that the use case does not have.
        InputError: there is nothing at the events' path.
    """
    given = checked(compiled, arguments)
    if not given.get("events"):
        raise ConfigError(
            "not said where they are",
            where="events",
            todo="add --set events=PATH|URI, such as runs/events after `mlops simulate runs/events`",
        )
    must_be_there(given["events"])
    candidates(settings, only=given.get("candidates", ()))
    return given


def checked_there(settings: Settings, compiled: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a run on a cluster with the same use case, if they are `checked` and leave no loop empty.

    Raises:
        ConfigError: see `checked`; or candidates that the use case does not have, or of which none is trained with, or
            none without, the accelerator that the pipeline was compiled for.
    """
    spec = _pipeline(compiled)
    given, accelerated = _checked(spec, arguments), _accelerated(spec)
    if accelerated or given.get("candidates"):
        worth = effort(given.get("effort", "quick"))
        names = candidates(settings, effort=worth, only=given.get("candidates", ()))
        if accelerated and not accelerated.intersection(names):
            raise not_in_loop(names, accelerated=True)
        if accelerated.issuperset(names):
            raise not_in_loop(names, accelerated=False)
    return given


def _pipeline(compiled: Path) -> dict[str, Any]:
    """The first document of a compiled pipeline."""
    try:
        spec = next(yaml.safe_load_all(compiled.read_text()))
        _root(spec)
    except (OSError, yaml.YAMLError, TypeError, KeyError, StopIteration):
        raise ConfigError(
            "is no compiled pipeline", where=compiled, todo="mlops kubeflow compile --out FILE"
        ) from None
    return dict(spec)


def _root(spec: Mapping[str, Any]) -> dict[str, Any]:
    inputs: dict[str, Any] = spec["root"]["inputDefinitions"]["parameters"]
    return inputs


def _accelerated(spec: Mapping[str, Any]) -> set[str]:
    """The candidates that the pipeline was compiled to train on an accelerator: those that one plan leaves out."""
    tasks = [
        task for each in spec["components"].values() for task in each.get("dag", {}).get("tasks", {}).items()
    ]
    plans = [task["inputs"]["parameters"] for name, task in tasks if name.startswith("plan")]
    return {name for plan in plans for name in plan["besides"]["runtimeValue"]["constant"]}


def _check_value(name: str, value: Any) -> None:
    """Raise a ConfigError for what a task would find out long after the start."""
    if name in _DAYS and (name, value) != ("as_of", TODAY):
        day(value, where=name)
    elif name == "effort":
        effort(value)
    elif name == "seed" and not 0 <= value < _SEEDS:
        raise ConfigError(f"{value} is not between 0 and {_SEEDS - 1}", where=name)
