"""Who answers: promotion and rolling back, which copy the bundle, move the alias and write the pointer, in this order.

Wherever either is interrupted, asking for the same again brings it to its end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mlops.bundle import FILES, Bundle
from mlops.deployment import Deployed, Deployment, bundle_path, read_deployment, write_deployment
from mlops.errors import BundleError, ConfigError, InputError
from mlops.model import open_model
from mlops.settings import Settings
from mlops.storage import publish_dir
from training.registry.entries import (
    ADMITTED,
    AGAINST,
    CHAMPION,
    DIGEST,
    GATE,
    NOBODY,
    aliased,
    at_registry,
    deployed,
    entry,
    model_name,
    open_as,
    opened,
)
from training.registry.lock import one_registrar
from training.registry.record import (
    Action,
    Said,
    Switch,
    Transition,
    champion_of,
    last_switch,
    record_switch,
    said,
    settle,
    stage_of,
    transitions,
)
from training.tracking import MlflowClient

__all__ = ["before_this", "must_be_promotable", "promote", "rollback", "to_go_back_to"]


def must_be_promotable(settings: Settings, version: str) -> None:
    """Refuse now what `promote` would refuse of a version, before anything is made ready for it.

    Raises:
        ConfigError, InputError, SetupError: as for `promote`.
    """
    name = model_name(settings)
    with at_registry(settings) as mlflow:
        _judged(settings, mlflow, entry(settings, mlflow, name, version))


def _judged(settings: Settings, mlflow: MlflowClient, held: Any) -> tuple[Any | None, Deployment | None]:
    """The champion and the pointer, if a version may take their place or is the champion."""
    champion = champion_of(mlflow, held.name)
    again = champion is not None and champion.version == held.version
    pointer = _pointer(settings, repair=again)
    back = champion is not None and _can_go_back(settings, mlflow, held.name, champion, pointer)
    todo = "train again" + ", or go back to the champion before with `mlops rollback`" * back
    _must_be_admitted(held, again=again, todo=todo)
    if not again:
        _must_be_compared(held, champion, pointer, todo=todo)
    return champion, pointer


def _can_go_back(
    settings: Settings, mlflow: MlflowClient, name: str, champion: Any, pointer: Deployment | None
) -> bool:
    try:
        to_go_back_to(settings, mlflow, name, champion, pointer)
    except ConfigError:
        return False
    return True


def promote(settings: Settings, version: str, *, by: str = "", why: str = "") -> Deployment:
    """Make a candidate or the challenger the champion: check and publish its bundle, move the alias, write the pointer.

    The gate's verdict counts only against the champion that it was about, and that is asked again when nobody else can
    change the registry any more: of two promotions at once one is refused. Called for the champion, it changes
    nothing, or repairs what differs.

    Args:
        by: who the record names, unless it is the user.
        why: what the record says.

    Raises:
        ConfigError: there is no such version, the gate refused it or compared it with another champion, or it is
            archived.
        BundleError: its bundle is not what was signed, or does not score its golden rows as it should.
        InputError: the pointer is not a deployment, and the version is not the champion that would repair it.
        SetupError: the device is full, MLflow's database does not answer, or another process is at the registry for
            too long.
    """
    name = model_name(settings)
    with at_registry(settings) as mlflow, one_registrar(settings, name) as confirm:
        held = entry(settings, mlflow, name, version)
        settle(mlflow, name)
        champion, pointer = _judged(settings, mlflow, held)
        return _switch(settings, mlflow, held, champion, pointer, said(settings, by, why), "promote", confirm)


def rollback(settings: Settings, *, by: str = "", why: str = "") -> Deployment:
    """Make the champion before the present one the champion again. Called twice, it undoes itself.

    Called after one that was interrupted once it had taken effect, but before the pointer said so, it finishes that
    one: who asks again because the first was killed does not want the replaced champion back.

    Raises:
        ConfigError: there was none, or it was rejected since.
        BundleError, InputError, SetupError: as for `promote`.
    """
    name = model_name(settings)
    with at_registry(settings) as mlflow, one_registrar(settings, name) as confirm:
        settle(mlflow, name)
        champion = champion_of(mlflow, name)
        pointer = _pointer(settings, repair=True)
        told = said(settings, by, why)
        held = to_go_back_to(settings, mlflow, name, champion, pointer)
        return _switch(settings, mlflow, held, champion, pointer, told, "roll back", confirm)


def to_go_back_to(
    settings: Settings, mlflow: MlflowClient, name: str, champion: Any | None, pointer: Deployment | None
) -> Any:
    """The entry that rolling back makes the champion: the one before, or, to finish what was begun, the present one.

    Raises:
        ConfigError: there was none, or it was rejected since.
    """
    if champion is not None and _half_done(champion, last_switch(mlflow, name), pointer):
        return champion
    before = None if champion is None else before_this(champion)
    if champion is None or before is None:
        raise ConfigError(
            "there was no champion before this one to go back to"
            if champion
            else "nothing was ever promoted",
            where=f"model {name}",
        )
    held = entry(settings, mlflow, name, before)
    rejected = [step for step in transitions(held) if step.action == "reject"]
    if rejected:
        raise ConfigError(
            f"version {before}, the champion before this one, {_told('was rejected', rejected[-1])}",
            where=f"model {name}",
            todo="train a new one: mlops train",
        )
    return held


def _half_done(champion: Any, switch: Switch | None, pointer: Deployment | None) -> bool:
    """Whether going back to the champion has taken effect, and serving does not know yet."""
    return (
        switch is not None
        and switch.action == "roll back"
        and switch.version == str(champion.version)
        and pointer is not None
        and pointer.champion.version == switch.replaced
    )


def before_this(champion: Any) -> str | None:
    """The version that the champion replaced, by its record."""
    entered = [step for step in transitions(champion) if step.stage == "champion"]
    return entered[-1].replaced if entered else None


def _switch(
    settings: Settings,
    mlflow: MlflowClient,
    held: Any,
    champion: Any | None,
    pointer: Deployment | None,
    told: Said,
    action: Action,
    confirm: Callable[[], None],
) -> Deployment:
    name, version = held.name, str(held.version)
    again = champion is not None and champion.version == held.version
    bundle = opened(settings, held)
    open_model(bundle)
    _publish(settings, bundle, deployed(held))
    replaced = None if champion is None else str(champion.version)
    if not again:
        record_switch(
            mlflow,
            name,
            Switch(version=version, action=action, replaced=replaced, by=told.by, at=told.at, why=told.why),
        )
    confirm()
    if aliased(mlflow, name, CHAMPION) != version:
        mlflow.set_registered_model_alias(name, CHAMPION, version)
    settle(mlflow, name)
    before = before_this(mlflow.get_model_version(name, version))
    return _point(settings, name, deployed(held), _previous(settings, mlflow, name, before), pointer)


def _point(
    settings: Settings, name: str, champion: Deployed, previous: Deployed | None, held: Deployment | None
) -> Deployment:
    deployment = Deployment(
        name=name,
        champion=champion,
        previous=previous,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if held is not None and msgspec.structs.replace(held, written_at=deployment.written_at) == deployment:
        return held
    write_deployment(settings.pointer, deployment)
    return deployment


def _previous(settings: Settings, mlflow: MlflowClient, name: str, version: str | None) -> Deployed | None:
    """The champion before as the pointer names it, with its bundle beside the pointer, too."""
    if version is None:
        return None
    try:
        held = entry(settings, mlflow, name, version)
        _publish(settings, opened(settings, held), deployed(held))
    except (BundleError, ConfigError):
        # Spoilt or deleted: it cannot answer again, and `rollback` will say why.
        return None
    return deployed(held)


def _publish(settings: Settings, bundle: Bundle, wanted: Deployed) -> None:
    """Copy a bundle to where serving reads it, unless it is there; what is put there has been checked."""
    target = bundle_path(settings.pointer, wanted)
    try:
        open_as(settings, target, bundle.digest)
    except BundleError:
        with publish_dir(target) as folder:
            _copy(bundle.path, folder)
            open_as(settings, folder, bundle.digest)


def _copy(bundle: Path, folder: Path) -> None:
    for name in FILES:
        shutil.copyfile(bundle / name, folder / name)


def _must_be_admitted(held: Any, *, again: bool, todo: str) -> None:
    where = f"model {held.name}, version {held.version}"
    if held.tags.get(GATE) != ADMITTED:
        raise ConfigError("the gate refused it", where=where, todo=held.description or "")
    if not again and stage_of(held) == "archived":
        raise ConfigError(
            f"it is archived: it {_told('was rejected', transitions(held)[-1])}"
            if transitions(held)[-1].action == "reject"
            else f"it is archived: {transitions(held)[-1].why}",
            where=where,
            todo=todo,
        )


def _must_be_compared(held: Any, champion: Any | None, pointer: Deployment | None, *, todo: str) -> None:
    """The verdict must be about today's champion: the registry's, or, where it has none, the pointer's."""
    if champion is not None:
        version, digest = str(champion.version), champion.tags.get(DIGEST)
    elif pointer is not None:
        version, digest = pointer.champion.version, pointer.champion.digest
    else:
        version, digest = None, NOBODY
    if held.tags.get(AGAINST) != digest:
        raise ConfigError(
            "the gate did not compare it with today's champion: "
            + (f"version {version} is" if version else "there is none"),
            where=f"model {held.name}, version {held.version}",
            todo=todo,
        )


def _told(what: str, step: Transition) -> str:
    return f"{what} by {step.by} at {step.at}: {step.why}".removesuffix(": ")


def _pointer(settings: Settings, *, repair: bool) -> Deployment | None:
    try:
        return read_deployment(settings.pointer)
    except InputError:
        if not repair:
            raise
        return None  # promotion writes it anew
