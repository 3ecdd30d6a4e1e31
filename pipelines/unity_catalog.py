"""The champion's copy in Unity Catalog, where others of the workspace find it and its use is governed.

The platform's own registry stays the record (see `training.registry`). Unity Catalog looks for no models by a filter,
allows no dots in a tag's key and 1,000 characters in its value, and takes nothing but MLflow models with a signature
of their types. So a version there is an MLflow model of the bundle's graph, with the signed bundle beside it.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from mlops.bundle import Bundle, open_bundle
from mlops.deployment import bundle_path, read_deployment
from mlops.errors import ConfigError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from training.registry.entries import CHAMPION, DIGEST, aliased
from training.tracking import MlflowClient

__all__ = ["BUNDLE", "Published", "publish", "write_mlflow_model"]

BUNDLE = "bundle"  # the folder in the model


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the catalog, and the platform's own whose bundle it holds."""

    model: str
    version: str
    of: str


def publish(settings: Settings, *, registry: str, model: str) -> Published:
    """Enter the champion into another registry, under the alias `champion`. Called again for it, it changes nothing.

    Args:
        registry: its URI: `databricks-uc`.
        model: the registered model's name there, `catalog.schema.model`; it exists.

    Raises:
        ConfigError: nothing was promoted yet.
        BundleError: the champion's bundle is not what was signed.
    """
    deployment = read_deployment(settings.pointer)
    if deployment is None:
        raise ConfigError("nothing was promoted yet", where=settings.pointer, todo="mlops promote")
    deployed = deployment.champion
    bundle = open_bundle(bundle_path(settings.pointer, deployed), public_key=settings.keys / PUBLIC_KEY)
    mlflow = MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=registry)
    held = aliased(mlflow, model, CHAMPION)
    if held is None or mlflow.get_model_version(model, held).tags.get(DIGEST) != bundle.digest:
        with TemporaryDirectory(prefix="mlops-") as folder:
            source = Path(folder) / "model"
            write_mlflow_model(bundle, source)
            tags = {
                DIGEST: bundle.digest,
                "candidate": deployed.candidate,
                "framework": deployed.framework,
                "version": deployed.version,
            }
            held = str(mlflow.create_model_version(model, source=str(source), tags=tags).version)
        mlflow.set_registered_model_alias(model, CHAMPION, held)
    return Published(model=model, version=held, of=deployed.version)


def write_mlflow_model(bundle: Bundle, folder: Path) -> None:
    """Write a bundle as an MLflow model of the ONNX flavour, with its signature of types and the bundle beside it."""
    import mlflow.onnx
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    scored = np.dtype(np.float32)
    mlflow.onnx.save_model(
        onnx.load_from_string(bundle.model),
        str(folder),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(scored, (-1, len(bundle.features.names)))]),
            outputs=Schema([TensorSpec(scored, (-1,))]),
        ),
        pip_requirements=[
            f"{name}=={installed(name)}" for name in ("mlflow", "numpy", "onnx", "onnxruntime")
        ],
        save_as_external_data=False,
    )
    shutil.copytree(bundle.path, folder / BUNDLE)
