"""`deployments/current.json`: the file that serving follows. Promotion writes it; nothing else does.

The champion's bundle lies beside it, in `bundles/<digest>`, so that the folder `deployments` and the public key are all
that serving has to be given.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops.storage import local_path, read_json, write_json

__all__ = ["Deployed", "Deployment", "bundle_path", "read_deployment", "write_deployment"]


class Deployed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle in its role: registry version, where it lies (see `bundle_path`), and its digest."""

    version: str
    candidate: str
    framework: str
    uri: str
    digest: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who answers, and who did before this promotion, if anybody: the one to roll back to."""

    name: str
    champion: Deployed
    previous: Deployed | None = None
    written_at: str = ""


def bundle_path(pointer: Path, deployed: Deployed) -> Path:
    """The folder of a bundle: its URI is a path from the pointer's folder, an absolute path or a `file://` URI.

    Raises:
        ConfigError: the URI has another scheme.
    """
    return local_path(deployed.uri, base=pointer.parent)


def read_deployment(path: Path) -> Deployment | None:
    """The deployment, or None if nothing was ever promoted.

    Raises:
        InputError: the file is not a deployment.
    """
    return read_json(path, Deployment) if path.exists() else None


def write_deployment(path: Path, deployment: Deployment) -> None:
    """Replace the deployment, atomically."""
    write_json(path, deployment)
