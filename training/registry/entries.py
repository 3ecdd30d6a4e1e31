"""Versions of the registered model: found by number or alias, with the bundle that each stands for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops.bundle import Bundle, open_bundle
from mlops.deployment import Deployed
from mlops.errors import BundleError, ConfigError
from mlops.home import must_be_home, use_case_of
from mlops.settings import Settings, without_password
from mlops.signing import PUBLIC_KEY
from mlops.storage import local_path
from training import tracking
from training.tracking import MlflowClient, MlflowException

__all__ = [
    "ADMITTED",
    "AGAINST",
    "CHALLENGER",
    "CHAMPION",
    "DIGEST",
    "GATE",
    "MISSING",
    "NOBODY",
    "aliased",
    "at_registry",
    "bundle_of",
    "deployed",
    "entries",
    "entry",
    "feature_names",
    "model_name",
    "must_have_record",
    "open_as",
    "opened",
]

CHAMPION, CHALLENGER = "champion", "challenger"  # the aliases
GATE, ADMITTED = "gate", "admitted"  # the tag that says what the gate said
AGAINST, NOBODY = "champion", "none"  # the tag with the digest of the champion that it was compared with
DIGEST = "digest"

MISSING = (
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_PARAMETER_VALUE",
)  # the latter for an alias that was never set


def model_name(settings: Settings) -> str:
    """The registered model's name: the use case's."""
    return use_case_of(settings).name


def must_have_record(settings: Settings) -> None:
    """Refuse a home without MLflow's database: training makes it, and asking does not.

    Raises:
        ConfigError: there is none, and the setting `tracking_uri` names no other.
    """
    database = settings.home / "mlflow.db"
    if not settings.tracking_uri and not database.exists():
        must_be_home(settings)
        raise ConfigError(
            "no home with a model",
            where=settings.home,
            todo="name another with --home, or make this one: mlops run",
        )


@contextmanager
def at_registry(settings: Settings) -> Iterator[MlflowClient]:
    """A client for who asks about versions.

    Raises:
        ConfigError: there is no database in the home, or the setting `tracking_uri` does not fit.
        SetupError: MLflow's database does not answer.
    """
    must_have_record(settings)
    with tracking.connected(settings) as mlflow:
        yield mlflow


def entry(settings: Settings, mlflow: MlflowClient, name: str, version: str) -> Any:
    """MLflow's entry of a version.

    Raises:
        ConfigError: there is none.
    """
    try:
        return mlflow.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        raise ConfigError(
            f"no version {version!r} of model {name!r}",
            where=without_password(settings.mlflow_uri),
            todo="`mlops status` names the champion and the challenger",
        ) from None


def entries(mlflow: MlflowClient, name: str, condition: str = "") -> list[Any]:
    """The entries that fit a condition in MLflow's search language, by version."""
    found = mlflow.search_model_versions(f"name='{name}'" + (f" and {condition}" if condition else ""))
    return sorted(found, key=lambda each: int(each.version))


def aliased(mlflow: MlflowClient, name: str, alias: str) -> str | None:
    """The version that bears an alias."""
    try:
        return str(mlflow.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        return None


def opened(settings: Settings, held: Any) -> Bundle:
    """The bundle of an entry, checked.

    Raises:
        BundleError: it is not what was signed, or not what the gate judged.
    """
    return open_as(settings, local_path(held.source, base=settings.home), held.tags.get(DIGEST))


def open_as(settings: Settings, path: Path, digest: str | None) -> Bundle:
    """The bundle in a folder, if it is the one of this digest.

    Raises:
        BundleError: it is not.
    """
    bundle = open_bundle(path, public_key=settings.keys / PUBLIC_KEY)
    if bundle.digest != digest:
        raise BundleError("is not the bundle that the gate judged", where=path)
    return bundle


def deployed(held: Any) -> Deployed:
    """An entry as the pointer names it."""
    digest = held.tags[DIGEST]
    return Deployed(
        version=str(held.version),
        candidate=held.tags["candidate"],
        framework=held.tags["framework"],
        uri=f"bundles/{digest}",
        digest=digest,
    )


def bundle_of(settings: Settings, version: str) -> Bundle:
    """The bundle of a registered version, checked.

    Raises:
        ConfigError: there is no such version.
        BundleError: its bundle is not what was signed.
        SetupError: MLflow's database does not answer.
    """
    with at_registry(settings) as mlflow:
        return opened(settings, entry(settings, mlflow, model_name(settings), version))


def feature_names(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The feature names of every registered bundle, by the digest over all its files.

    Raises:
        BundleError: a bundle is not what was signed.
        SetupError: MLflow's database does not answer.
    """
    with at_registry(settings) as mlflow:
        bundles = [opened(settings, held) for held in entries(mlflow, model_name(settings))]
    return {bundle.digest: bundle.features.names for bundle in bundles}
