"""Entering versions, and taking them out of the running."""

from __future__ import annotations

import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from mlops.storage import write_json
from training import tracking
from training.gate import Verdict
from training.registry.entries import (
    ADMITTED,
    AGAINST,
    CHALLENGER,
    DIGEST,
    GATE,
    MISSING,
    NOBODY,
    aliased,
    at_registry,
    entries,
    entry,
    model_name,
)
from training.registry.lock import one_registrar
from training.registry.record import (
    Said,
    Transition,
    champion_of,
    enter,
    first_tags,
    last_switch,
    record_switch,
    said,
    settle,
    stage_of,
    transitions,
)
from training.results import TrainResult
from training.tracking import MlflowClient, MlflowException

__all__ = ["register", "reject", "withdraw_challenger"]

_DESCRIPTION = 5000  # characters: the width of MLflow's column, which PostgreSQL insists on


def register(settings: Settings, result: TrainResult, verdict: Verdict, *, by: str = "") -> str:
    """Enter a run's bundle into the registry with the gate's verdict, and return its version.

    It is a candidate. Admitted, it becomes the challenger, and an earlier challenger a candidate again; refused, it is
    archived with the refusals, so that the record is whole. Called again for a run, it gives the version that the run
    has. What was rejected stays rejected, and the champion stays the champion, whatever a verdict says now: such a
    verdict is written nowhere, as what stands is what it was rejected or promoted on.

    Raises:
        ConfigError: the verdict is about another run.
        SetupError: MLflow's database does not answer, or another process is at the registry for too long.
    """
    if verdict.run_id != result.run_id:
        raise ConfigError(f"the verdict is about run {verdict.run_id}", where=f"run {result.run_id}")
    name, outcome = result.use_case, ADMITTED if verdict.admitted else "refused"
    with tracking.connected(settings) as mlflow, one_registrar(settings, name):
        _ensure_model(mlflow, name)
        settle(mlflow, name)
        tags = {
            GATE: outcome,
            "candidate": result.name,
            "framework": result.framework,
            DIGEST: result.digest,
            AGAINST: verdict.champion or NOBODY,
        }
        held = _entered(mlflow, name, verdict, tags, said(settings, by, "it was trained"))
        version, champion = str(held.version), champion_of(mlflow, name)
        if (champion is None or str(champion.version) != version) and _rejected(held) is None:
            _log_verdict(mlflow, verdict, outcome)
            mlflow.update_model_version(name, version, _description(verdict))
            for key, value in tags.items():
                mlflow.set_model_version_tag(name, version, key, value)
            if verdict.admitted:
                _challenge(mlflow, name, version, said(settings, by, "the gate admitted it"))
            else:
                _step_back(mlflow, name, version)
                why = " ".join(verdict.refusals)
                enter(mlflow, name, version, "archived", "register", said(settings, by, why))
        return version


def withdraw_challenger(settings: Settings, *, by: str = "", why: str = "") -> None:
    """Let no version be the challenger: who was is a candidate again.

    Raises:
        SetupError: as for `register`.
    """
    name = model_name(settings)
    with tracking.connected(settings) as mlflow, one_registrar(settings, name):
        settle(mlflow, name)
        if (version := aliased(mlflow, name, CHALLENGER)) is not None:
            _withdraw(mlflow, name, version, said(settings, by, why))


def reject(settings: Settings, version: str, *, by: str = "", why: str = "") -> Transition:
    """Archive a version, for ever: it will not be promoted, and nobody rolls back to it. Called again, it does nothing.

    Raises:
        ConfigError: there is no such version, or it is the champion.
        SetupError: as for `register`.
    """
    name = model_name(settings)
    with at_registry(settings) as mlflow, one_registrar(settings, name):
        held = entry(settings, mlflow, name, version)
        settle(mlflow, name)
        champion = champion_of(mlflow, name)
        if champion is not None and champion.version == held.version:
            raise ConfigError(
                "it is the champion",
                where=f"model {name}, version {version}",
                todo="promote another, or go back with `mlops rollback`; then reject it",
            )
        _step_back(mlflow, name, version)
        enter(mlflow, name, version, "archived", "reject", _rejected(held) or said(settings, by, why))
        switch = last_switch(mlflow, name)
        if switch is not None and switch.version == version:  # begun and given up
            record_switch(mlflow, name, None)
        done = _rejected(mlflow.get_model_version(name, version))
        assert done is not None
        return done


def _rejected(held: Any) -> Transition | None:
    """The step that rejected an entry, if one did."""
    return next((step for step in transitions(held) if step.action == "reject"), None)


def _entered(mlflow: MlflowClient, name: str, verdict: Verdict, tags: dict[str, str], told: Said) -> Any:
    known = entries(mlflow, name, f"run_id='{verdict.run_id}'")
    if known:
        return known[0]
    try:
        run = mlflow.get_run(verdict.run_id)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        raise InputError(
            "MLflow has no such run", where=f"run {verdict.run_id}", todo="train again, and not from a cache"
        ) from None
    made = mlflow.create_model_version(
        name,
        source=f"{run.info.artifact_uri}/bundle",
        run_id=verdict.run_id,
        tags=tags | first_tags(told),
        description=_description(verdict),
    )
    return mlflow.get_model_version(name, made.version)


def _description(verdict: Verdict) -> str:
    return textwrap.shorten(" ".join(check.text for check in verdict.checks), _DESCRIPTION)


def _challenge(mlflow: MlflowClient, name: str, version: str, told: Said) -> None:
    """Make a version the challenger instead of another."""
    before = aliased(mlflow, name, CHALLENGER)
    if before is not None and before != version:
        words = f"version {version} challenges instead"
        _withdraw(mlflow, name, before, Said(by=told.by, at=told.at, why=words))
    mlflow.set_registered_model_alias(name, CHALLENGER, version)
    enter(mlflow, name, version, "challenger", "register", told)


def _withdraw(mlflow: MlflowClient, name: str, version: str, told: Said) -> None:
    mlflow.delete_registered_model_alias(name, CHALLENGER)
    if stage_of(mlflow.get_model_version(name, version)) == "challenger":
        enter(mlflow, name, version, "candidate", "withdraw", told)


def _step_back(mlflow: MlflowClient, name: str, version: str) -> None:
    """Take the alias from a version that is about to leave."""
    if aliased(mlflow, name, CHALLENGER) == version:
        mlflow.delete_registered_model_alias(name, CHALLENGER)


def _ensure_model(mlflow: MlflowClient, name: str) -> None:
    try:
        mlflow.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_verdict(mlflow: MlflowClient, verdict: Verdict, outcome: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "verdict.json"
        write_json(path, verdict)
        mlflow.log_artifact(verdict.run_id, str(path))
    mlflow.set_tag(verdict.run_id, GATE, outcome)
