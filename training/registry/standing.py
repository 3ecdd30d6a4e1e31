"""Where registry and pointer stand, where they differ and what to do about it, and how it came to that."""

from __future__ import annotations

from typing import Any

import msgspec

from mlops.deployment import Deployment, bundle_path, read_deployment
from mlops.errors import BundleError, ConfigError
from mlops.settings import Settings
from training.registry.champion import to_go_back_to
from training.registry.entries import (
    CHALLENGER,
    CHAMPION,
    aliased,
    at_registry,
    deployed,
    entries,
    entry,
    model_name,
    open_as,
    opened,
)
from training.registry.record import Switch, Transition, champion_of, last_switch, stage_of, transitions
from training.tracking import MlflowClient

__all__ = ["Status", "history", "status"]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says should answer, what the pointer says does, and where they differ, a sentence each.

    `stages` has the versions in each stage, the newest first, `changed` what was last done about the champion, and
    `rollback` what rolling back would do.
    """

    name: str
    champion: str | None
    challenger: str | None
    deployment: Deployment | None
    differences: tuple[str, ...]
    stages: dict[str, tuple[str, ...]] = {}
    changed: Switch | None = None
    rollback: str = ""


def status(settings: Settings) -> Status:
    """Where registry and pointer stand.

    Raises:
        ConfigError: the home is none, or none with a model.
        InputError: the pointer is not a deployment.
        SetupError: MLflow's database does not answer.
    """
    name = model_name(settings)
    with at_registry(settings) as mlflow:
        champion, switch = champion_of(mlflow, name), last_switch(mlflow, name)
        deployment = read_deployment(settings.pointer)
        stages: dict[str, tuple[str, ...]] = {}
        for held in reversed(entries(mlflow, name)):
            stages[stage_of(held)] = (*stages.get(stage_of(held), ()), str(held.version))
        differences = [
            *_of_the_record(mlflow, name, champion, switch),
            *_of_the_pointer(settings, champion, deployment),
        ]
        return Status(
            name=name,
            champion=None if champion is None else str(champion.version),
            challenger=aliased(mlflow, name, CHALLENGER),
            deployment=deployment,
            differences=tuple(differences),
            stages=stages,
            changed=switch,
            rollback=_of_rolling_back(settings, mlflow, name, champion, deployment) if champion else "",
        )


def history(settings: Settings, version: str | None = None) -> tuple[Transition, ...]:
    """Every step of every version, or of one, in the order of time.

    Raises:
        ConfigError: there is no such version.
        SetupError: MLflow's database does not answer.
    """
    name = model_name(settings)
    with at_registry(settings) as mlflow:
        found = entries(mlflow, name) if version is None else [entry(settings, mlflow, name, version)]
        # A version's first step was written before it had a number.
        steps = [
            msgspec.structs.replace(step, version=str(held.version))
            for held in found
            for step in transitions(held)
        ]
    return tuple(sorted(steps, key=lambda step: step.at))


def _of_rolling_back(
    settings: Settings, mlflow: MlflowClient, name: str, champion: Any, deployment: Deployment | None
) -> str:
    try:
        held = to_go_back_to(settings, mlflow, name, champion, deployment)
        opened(settings, held)
    except ConfigError as error:
        return f"refused: {error.what}"
    except BundleError as error:
        return f"refused: {error}"
    if held.version == champion.version:
        return f"finishes what was begun: version {held.version} answers again"
    return f"goes back to version {held.version}, {held.tags['candidate']}"


def _of_the_record(mlflow: MlflowClient, name: str, champion: Any | None, switch: Switch | None) -> list[str]:
    alias = aliased(mlflow, name, CHAMPION)
    if champion is None or alias != (version := str(champion.version)):
        if champion is not None:
            where = f"on version {alias}" if alias else "gone"
            return [
                f"The alias of the champion, version {champion.version}, is {where}: {_again(champion.version)}."
            ]
        if alias is not None:
            return [f"Version {alias} bears the alias champion, but nobody promoted it: promote it."]
    if switch is not None and switch.version != alias:
        todo = (
            "roll back again" if switch.action == "roll back" else f"{_again(switch.version)}, or reject it"
        )
        told = f"of version {switch.version} by {switch.by} at {switch.at}"
        return [f"What was begun, to {switch.action}, {told}, did not take effect: {todo}."]
    if champion is None:
        return []
    stood = [str(held.version) for held in entries(mlflow, name, "tags.stage='champion'")]
    if stood != [version] or aliased(mlflow, name, CHALLENGER) == version:
        return [f"Version {version} is champion, but its record was not finished: {_again(version)}."]
    return []


def _of_the_pointer(settings: Settings, champion: Any | None, deployment: Deployment | None) -> list[str]:
    if champion is None:
        return [] if deployment is None else ["The pointer names a model, but no version is champion."]
    version = str(champion.version)
    if deployment is None:
        return [f"Version {version} is champion, but there is no pointer: {_again(version)}."]
    named = deployment.champion.version
    if named != version:
        return [f"Version {version} is champion, the pointer names {named}: {_again(version)}."]
    try:
        opened(settings, champion)
    except BundleError as error:
        return [f"The champion's bundle must not be served: {error}."]
    wanted = deployed(champion)
    if deployment.champion != wanted:
        return [f"The pointer's bundle is not that of version {version}: {_again(version)}."]
    try:
        open_as(settings, bundle_path(settings.pointer, wanted), wanted.digest)
    except BundleError as error:
        return [f"What serving reads is not the champion's bundle ({error}): {_again(version)}."]
    return []


def _again(version: str) -> str:
    return f"promote version {version} again"
