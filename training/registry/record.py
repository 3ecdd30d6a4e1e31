"""The record of a version's life: candidate → challenger → champion → archived, each step with who, when and why.

It stands in MLflow itself, where everybody on the same database reads the same. A version has the tag `stage`, and a
tag `transition.<n>` for each step, which is never written again. The registered model has the tag `switch`: what was
last asked for about its champion, written before the alias `champion` is moved and as good as done from then on. So
`settle` can finish what a killed process began, with the words of whoever began it.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from mlops.settings import Settings
from training.registry.entries import CHALLENGER, CHAMPION, aliased, entries
from training.tracking import MlflowClient

__all__ = [
    "Action",
    "Said",
    "Stage",
    "Switch",
    "Transition",
    "champion_of",
    "enter",
    "first_tags",
    "last_switch",
    "record_switch",
    "said",
    "settle",
    "stage_of",
    "transitions",
]

Stage = Literal["candidate", "challenger", "champion", "archived"]
Action = Literal["register", "withdraw", "promote", "reject", "roll back"]

_STAGE, _STEP, _SWITCH = "stage", "transition.", "switch"
_BY_AT_MOST, _WHY_AT_MOST = 200, 2000  # characters: MLflow keeps 5,000 of a model's tag


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something, when (UTC, ISO), and why."""

    by: str
    at: str
    why: str = ""


class Transition(Said, frozen=True, kw_only=True):
    """A version came into a stage. `replaced` is the champion before, where it became the champion."""

    version: str
    stage: Stage
    action: Action
    replaced: str | None = None


class Switch(Said, frozen=True, kw_only=True):
    """A version is to be the champion instead of `replaced`."""

    version: str
    action: Action
    replaced: str | None = None


def said(settings: Settings, by: str = "", why: str = "") -> Said:
    """Who is at it now: the one named, else `MLOPS_USER`, else the user of the operating system, or its number."""
    try:
        name = by or settings.user or getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as containers have it
        name = f"uid {os.getuid()}"
    return Said(
        by=name[:_BY_AT_MOST], at=datetime.now(UTC).isoformat(timespec="milliseconds"), why=why[:_WHY_AT_MOST]
    )


def stage_of(held: Any) -> Stage:
    """The stage of an entry."""
    return msgspec.convert(held.tags.get(_STAGE, "candidate"), Stage)


def transitions(held: Any) -> tuple[Transition, ...]:
    """The steps that an entry has taken, in their order."""
    found = sorted((key, value) for key, value in held.tags.items() if key.startswith(_STEP))
    return tuple(msgspec.json.decode(value, type=Transition) for _, value in found)


def first_tags(said: Said) -> dict[str, str]:
    """The tags that a version is made with, as a candidate. Its number is not known yet, and MLflow gives it."""
    return {_STAGE: "candidate"} | _step(
        0, Transition(version="", stage="candidate", action="register", **_of(said))
    )


def enter(
    mlflow: MlflowClient,
    name: str,
    version: str,
    stage: Stage,
    action: Action,
    said: Said,
    replaced: str | None = None,
) -> None:
    """Let a version come into a stage, and record it; what a killed process recorded is not recorded twice.

    It is the same step only for the same reason: a version may be refused again, for another.
    """
    taken = transitions(mlflow.get_model_version(name, version))
    if not taken or (taken[-1].stage, taken[-1].action, taken[-1].why) != (stage, action, said.why):
        step = Transition(version=version, stage=stage, action=action, replaced=replaced, **_of(said))
        for key, value in _step(len(taken), step).items():
            mlflow.set_model_version_tag(name, version, key, value)
    mlflow.set_model_version_tag(name, version, _STAGE, stage)


def champion_of(mlflow: MlflowClient, name: str) -> Any | None:
    """The entry of the champion: the alias says which, unless it was moved by other means than ours."""
    version, switch = aliased(mlflow, name, CHAMPION), last_switch(mlflow, name)
    stood = _in_stage(mlflow, name, "champion")
    for held in stood:
        if str(held.version) == version:
            return held
    if version is not None and switch is not None and switch.version == version:
        return mlflow.get_model_version(name, version)
    return stood[-1] if stood else None


def last_switch(mlflow: MlflowClient, name: str) -> Switch | None:
    """What was last asked for about the champion, whether or not it came to pass."""
    for model in mlflow.search_registered_models(f"name='{name}'"):
        if text := model.tags.get(_SWITCH):
            return msgspec.json.decode(text, type=Switch)
    return None


def record_switch(mlflow: MlflowClient, name: str, switch: Switch | None) -> None:
    """Write down what is about to be done, or that it is not any more."""
    if switch is None:
        mlflow.delete_registered_model_tag(name, _SWITCH)
    else:
        mlflow.set_registered_model_tag(name, _SWITCH, msgspec.json.encode(switch).decode())


def settle(mlflow: MlflowClient, name: str) -> None:
    """Bring stages and the alias `challenger` to what the last switch did, if they are not there."""
    switch = last_switch(mlflow, name)
    if switch is None or aliased(mlflow, name, CHAMPION) != switch.version:
        return
    stood = [str(held.version) for held in _in_stage(mlflow, name, "champion")]
    for version in stood:
        if version != switch.version:
            words = f"version {switch.version} replaced it: {switch.why}".removesuffix(": ")
            told = msgspec.structs.replace(switch, why=words)
            enter(mlflow, name, version, "archived", switch.action, told)
    if switch.version not in stood:
        enter(mlflow, name, switch.version, "champion", switch.action, switch, switch.replaced)
    if aliased(mlflow, name, CHALLENGER) == switch.version:
        mlflow.delete_registered_model_alias(name, CHALLENGER)


def _in_stage(mlflow: MlflowClient, name: str, stage: Stage) -> Sequence[Any]:
    return entries(mlflow, name, f"tags.{_STAGE}='{stage}'")


def _of(said: Said) -> dict[str, str]:
    return {"by": said.by, "at": said.at, "why": said.why}


def _step(number: int, step: Transition) -> dict[str, str]:
    return {f"{_STEP}{number:04}": msgspec.json.encode(step).decode()}
