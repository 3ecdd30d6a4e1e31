"""MLflow's model registry, and the file that serving follows.

The alias `champion` says which version should answer, `deployments/current.json` which one does. Promotion moves the
alias first and writes the file after; where it was interrupted in between, promoting again repairs it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

import msgspec

from mlops.bundle import Bundle, open_bundle
from mlops.contract import load_use_case
from mlops.deployment import Deployed, Deployment, read_deployment, write_deployment
from mlops.errors import BundleError, ConfigError, InputError
from mlops.model import open_model
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import write_json
from training import tracking
from training.gate import Verdict
from training.tracking import MlflowClient, MlflowException
from training.train import TrainResult

__all__ = ["Status", "bundle_of", "feature_names", "promote", "register", "rollback", "status"]

CHAMPION, CHALLENGER = "champion", "challenger"
_GATE = "gate"  # the tag that says what the gate said
_MISSING = (
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_PARAMETER_VALUE",
)  # the latter for an alias that was never set


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says should answer, what the pointer says does, and where they differ, a sentence each."""

    name: str
    champion: str | None
    challenger: str | None
    deployment: Deployment | None
    differences: tuple[str, ...]


def register(settings: Settings, result: TrainResult, verdict: Verdict) -> str:
    """Enter a run's bundle into the registry with the gate's verdict, and return its version.

    A refused one is entered as well, so that the record is whole; only an admitted one becomes the challenger. Called
    again for a run, it gives the version that the run has.

    Raises:
        ConfigError: the verdict is about another run.
    """
    if verdict.run_id != result.run_id:
        raise ConfigError(f"the verdict is about run {verdict.run_id}", where=f"run {result.run_id}")
    mlflow, name = tracking.client(settings), result.use_case
    _ensure_model(mlflow, name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "verdict.json"
        write_json(path, verdict)
        mlflow.log_artifact(result.run_id, str(path))
    outcome = "admitted" if verdict.admitted else "refused"
    mlflow.set_tag(result.run_id, _GATE, outcome)
    known = mlflow.search_model_versions(f"name='{name}' and run_id='{result.run_id}'")
    if known:
        version = str(known[0].version)
    else:
        run = mlflow.get_run(result.run_id)
        made = mlflow.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/bundle",
            run_id=result.run_id,
            description=" ".join(check.text for check in verdict.checks),
        )
        version = str(made.version)
    for key, value in {
        _GATE: outcome,
        "candidate": result.name,
        "framework": result.framework,
        "digest": result.digest,
    }.items():
        mlflow.set_model_version_tag(name, version, key, value)
    if verdict.admitted:
        mlflow.set_registered_model_alias(name, CHALLENGER, version)
    return version


def promote(settings: Settings, version: str) -> Deployment:
    """Make a registered version the champion: check its bundle, move the alias, then write the pointer.

    Called again, it changes nothing, or repairs what differs.

    Raises:
        ConfigError: there is no such version, or the gate refused it.
        BundleError: its bundle is not what was signed, or does not score its golden rows as it should.
    """
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    entry = _entry(settings, mlflow, name, version)
    if entry.tags.get(_GATE) != "admitted":
        raise ConfigError(
            "the gate refused it", where=f"model {name}, version {version}", todo=entry.description or ""
        )
    bundle = _bundle(settings, entry)
    open_model(bundle)

    if _version_of(mlflow, name, CHAMPION) != version:
        mlflow.set_registered_model_alias(name, CHAMPION, version)
    if _version_of(mlflow, name, CHALLENGER) == version:
        mlflow.delete_registered_model_alias(name, CHALLENGER)
    wanted = Deployment(
        name=name,
        champion=_deployed(version, bundle),
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    held = _pointer(settings)
    if held is not None and msgspec.structs.replace(held, written_at=wanted.written_at) == wanted:
        return held
    write_deployment(settings.pointer, wanted)
    return wanted


def bundle_of(settings: Settings, version: str) -> Bundle:
    """The bundle of a registered version, checked.

    Raises:
        ConfigError: there is no such version.
        BundleError: its bundle is not what was signed.
    """
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    return _bundle(settings, _entry(settings, mlflow, name, version))


def feature_names(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The feature names of every registered bundle, by the digest of its manifest.

    Raises:
        BundleError: a bundle is not what was signed.
    """
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    bundles = [_bundle(settings, entry) for entry in mlflow.search_model_versions(f"name='{name}'")]
    return {bundle.digest: bundle.features.names for bundle in bundles}


def rollback(settings: Settings) -> Deployment:
    """Promote the admitted version before the champion again.

    Raises:
        ConfigError: there is none.
        BundleError: as for `promote`.
    """
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    champion = _version_of(mlflow, name, CHAMPION)
    before = [
        int(entry.version)
        for entry in mlflow.search_model_versions(f"name='{name}'")
        if entry.tags.get(_GATE) == "admitted" and champion is not None and int(entry.version) < int(champion)
    ]
    if not before:
        raise ConfigError("no earlier admitted version to go back to", where=f"model {name}")
    return promote(settings, str(max(before)))


def status(settings: Settings) -> Status:
    """Where registry and pointer stand.

    Raises:
        InputError: the pointer is not a deployment.
    """
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    champion = _version_of(mlflow, name, CHAMPION)
    deployment = read_deployment(settings.pointer)
    return Status(
        name=name,
        champion=champion,
        challenger=_version_of(mlflow, name, CHALLENGER),
        deployment=deployment,
        differences=tuple(_differences(settings, mlflow, name, champion, deployment)),
    )


def _differences(
    settings: Settings, mlflow: MlflowClient, name: str, champion: str | None, deployment: Deployment | None
) -> list[str]:
    if champion is None:
        return [] if deployment is None else ["The pointer names a model, but no version is champion."]
    todo = f"promote version {champion} again"
    if deployment is None:
        return [f"Version {champion} is champion, but there is no pointer: {todo}."]
    if deployment.champion.version != champion:
        return [f"Version {champion} is champion, the pointer names {deployment.champion.version}: {todo}."]
    try:
        wanted = _deployed(champion, _bundle(settings, mlflow.get_model_version(name, champion)))
    except BundleError as error:
        return [f"The champion's bundle must not be served: {error}."]
    if deployment.champion != wanted:
        return [f"The pointer's bundle is not that of version {champion}: {todo}."]
    return []


def _entry(settings: Settings, mlflow: MlflowClient, name: str, version: str) -> Any:
    try:
        return mlflow.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise
        raise ConfigError(
            f"no version {version!r} of model {name!r}",
            where=settings.mlflow_uri,
            todo="`mlops status` names the champion and the challenger",
        ) from None


def _ensure_model(mlflow: MlflowClient, name: str) -> None:
    try:
        mlflow.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version_of(mlflow: MlflowClient, name: str, alias: str) -> str | None:
    try:
        return str(mlflow.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise
        return None


def _bundle(settings: Settings, entry: Any) -> Bundle:
    source = urlparse(entry.source)
    if source.scheme not in ("", "file"):
        raise ConfigError(
            "is not a local path, and serving reads bundles from one",
            where=entry.source,
            todo="use an artefact store that this machine mounts",
        )
    bundle = open_bundle(Path(unquote(source.path)), public_key=settings.keys / PUBLIC_KEY)
    if bundle.digest != entry.tags.get("digest"):
        raise BundleError("is not the bundle that the gate judged", where=bundle.path)
    return bundle


def _deployed(version: str, bundle: Bundle) -> Deployed:
    return Deployed(
        version=version,
        candidate=bundle.manifest.candidate,
        framework=bundle.manifest.framework,
        uri=str(bundle.path),
        digest=bundle.digest,
    )


def _pointer(settings: Settings) -> Deployment | None:
    try:
        return read_deployment(settings.pointer)
    except InputError:
        return None  # unreadable: promotion writes it anew
