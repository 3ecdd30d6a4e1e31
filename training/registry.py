"""MLflow's model registry, and the file that serving follows.

The alias `champion` says which version should answer, `deployments/current.json` which one does. Promotion copies the
bundle to where serving reads it, moves the alias, and writes the file last; where it was interrupted in between,
promoting again repairs it.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from mlops.bundle import Bundle, open_bundle
from mlops.contract import load_use_case
from mlops.deployment import Deployed, Deployment, bundle_path, read_deployment, write_deployment
from mlops.errors import BundleError, ConfigError, InputError
from mlops.model import open_model
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.storage import local_path, publish_dir, write_json
from training import tracking
from training.gate import Verdict
from training.results import TrainResult
from training.tracking import MlflowClient, MlflowException

__all__ = [
    "Status",
    "bundle_of",
    "feature_names",
    "promote",
    "register",
    "rollback",
    "status",
    "withdraw_challenger",
]

CHAMPION, CHALLENGER = "champion", "challenger"
_GATE = "gate"  # the tag that says what the gate said
_AGAINST = "champion"  # the tag with the digest of the champion that it was compared with
_NOBODY = "none"
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
        _AGAINST: verdict.champion or _NOBODY,
    }.items():
        mlflow.set_model_version_tag(name, version, key, value)
    if verdict.admitted:
        mlflow.set_registered_model_alias(name, CHALLENGER, version)
    return version


def withdraw_challenger(settings: Settings) -> None:
    """Let no version be the challenger."""
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    if _version_of(mlflow, name, CHALLENGER) is not None:
        mlflow.delete_registered_model_alias(name, CHALLENGER)


def promote(settings: Settings, version: str) -> Deployment:
    """Make a registered version the champion: check and publish its bundle, move the alias, then write the pointer.

    The gate's verdict counts only against the champion that it was about. So a version can follow that one, or come
    back as the champion before the present one. Called again, it changes nothing, or repairs what differs.

    Raises:
        ConfigError: there is no such version, the gate refused it, or it was compared with another champion.
        BundleError: its bundle is not what was signed, or does not score its golden rows as it should.
        InputError: the pointer is not a deployment, and the version is not the champion that would repair it.
        SetupError: the device is full.
    """
    mlflow, name = tracking.client(settings), load_use_case(settings.usecase).name
    entry = _entry(settings, mlflow, name, version)
    where = f"model {name}, version {version}"
    if entry.tags.get(_GATE) != "admitted":
        raise ConfigError("the gate refused it", where=where, todo=entry.description or "")
    champion = _version_of(mlflow, name, CHAMPION)
    held = _pointer(settings, repair=champion == version)
    if not _may_answer(entry, held, champion):
        answers = f"version {held.champion.version} answers" if held else "no version answers"
        raise ConfigError(
            f"the gate did not compare it with today's champion: {answers}",
            where=where,
            todo="train again, or go back with --rollback",
        )
    bundle = _bundle(settings, entry)
    open_model(bundle)

    wanted = _deployed(version, bundle)
    _publish(settings, bundle, bundle_path(settings.pointer, wanted))
    if champion != version:
        mlflow.set_registered_model_alias(name, CHAMPION, version)
    if _version_of(mlflow, name, CHALLENGER) == version:
        mlflow.delete_registered_model_alias(name, CHALLENGER)
    previous = None
    if held is not None:
        if held.champion == wanted:
            return held
        previous = held.previous if _is_champion(entry, held, champion) else held.champion
    deployment = Deployment(
        name=name,
        champion=wanted,
        previous=previous,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_deployment(settings.pointer, deployment)
    return deployment


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
    """Promote the champion before the present one again. Called twice, it undoes itself.

    Raises:
        ConfigError: there was none.
        BundleError: as for `promote`.
        InputError: the pointer is not a deployment.
    """
    held = read_deployment(settings.pointer)
    if held is None or held.previous is None:
        raise ConfigError(
            "there was no champion before this one to go back to" if held else "nothing was ever promoted",
            where=settings.pointer,
        )
    return promote(settings, held.previous.version)


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
    try:
        _open(settings, bundle_path(settings.pointer, wanted), wanted.digest)
    except BundleError as error:
        return [f"What serving reads is not the champion's bundle ({error}): {todo}."]
    return []


def _may_answer(entry: Any, held: Deployment | None, champion: str | None) -> bool:
    """Whether the gate's verdict holds now, or the version is promoted again, or comes back."""
    against = entry.tags.get(_AGAINST)
    if held is None:
        return against == _NOBODY or champion == str(entry.version)
    return (
        against == held.champion.digest
        or _is_champion(entry, held, champion)
        or (held.previous is not None and held.previous.digest == entry.tags.get("digest"))
    )


def _is_champion(entry: Any, held: Deployment, champion: str | None) -> bool:
    """Whether the pointer names this version already, be it with a wrong version or, by the alias, a wrong digest."""
    version, digest = str(entry.version), entry.tags.get("digest")
    return held.champion.digest == digest or held.champion.version == champion == version


def _publish(settings: Settings, bundle: Bundle, target: Path) -> None:
    """Copy a bundle to where serving reads it, unless it is there; what is put there has been checked."""
    try:
        _open(settings, target, bundle.digest)
    except BundleError:
        with publish_dir(target) as folder:
            for name in (*bundle.manifest.files, "manifest.json", "manifest.sig"):
                shutil.copyfile(bundle.path / name, folder / name)
            _open(settings, folder, bundle.digest)


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
    path = local_path(entry.source, base=settings.home)
    return _open(settings, path, entry.tags.get("digest"))


def _open(settings: Settings, path: Path, digest: str | None) -> Bundle:
    bundle = open_bundle(path, public_key=settings.keys / PUBLIC_KEY)
    if bundle.digest != digest:
        raise BundleError("is not the bundle that the gate judged", where=path)
    return bundle


def _deployed(version: str, bundle: Bundle) -> Deployed:
    return Deployed(
        version=version,
        candidate=bundle.manifest.candidate,
        framework=bundle.manifest.framework,
        uri=f"bundles/{bundle.digest}",
        digest=bundle.digest,
    )


def _pointer(settings: Settings, *, repair: bool) -> Deployment | None:
    try:
        return read_deployment(settings.pointer)
    except InputError:
        if not repair:
            raise
        return None  # promotion writes it anew
