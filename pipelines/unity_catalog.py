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


def publish(settings: Settings, *, registry: str, model: str) -> Published | None:
    """Let the alias `champion` of another registry follow the champion here; None where nobody was promoted yet.

    A bundle is entered once, however often its champion comes back, and also if one that entered it was killed.

    Args:
        registry: its URI: `databricks-uc`.
        model: the registered model's name there, `catalog.schema.model`; it exists.

    Raises:
        BundleError: the champion's bundle is not what was signed.
    """
    deployment = read_deployment(settings.pointer)
    if deployment is None:
        return None
    deployed = deployment.champion
    bundle = open_bundle(bundle_path(settings.pointer, deployed), public_key=settings.keys / PUBLIC_KEY)
    mlflow = MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=registry)
    held = _entered(mlflow, model, bundle.digest)
    if held is None:
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
    if aliased(mlflow, model, CHAMPION) != held:
        mlflow.set_registered_model_alias(model, CHAMPION, held)
    return Published(model=model, version=held, of=deployed.version)


def _entered(mlflow: MlflowClient, model: str, digest: str) -> str | None:
    """The newest whole version that holds the bundle with this digest."""
    versions: list[int] = []
    page = None
    while page is None or page.token:
        page = mlflow.search_model_versions(f"name='{model}'", page_token=page.token if page else None)
        versions += [int(found.version) for found in page]
    for number in sorted(versions, reverse=True):
        # Unity Catalog tells a version's tags only of one at a time.
        entry = mlflow.get_model_version(model, str(number))
        if (
            entry.tags.get(DIGEST) == digest and entry.status == "READY"
        ):  # else whoever sent its files was killed
            return str(number)
    return None


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
