"""`deployments/current.json`: the file that serving follows. Promotion writes it; nothing else does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops.storage import read_json, write_json

__all__ = ["Deployed", "Deployment", "read_deployment", "write_deployment"]


class Deployed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle in its role: registry version, where it lies, and the digest of its manifest."""

    version: str
    candidate: str = ""
    framework: str
    uri: str
    digest: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who answers. `share` is the share of traffic that the challenger answers, 0 while it only shadows."""

    name: str
    champion: Deployed
    challenger: Deployed | None = None
    share: float = 0.0
    written_at: str = ""


def read_deployment(path: Path) -> Deployment | None:
    """The deployment, or None if nothing was ever promoted.

    Raises:
        InputError: the file is not a deployment.
    """
    return read_json(path, Deployment) if path.exists() else None


def write_deployment(path: Path, deployment: Deployment) -> None:
    """Replace the deployment, atomically."""
    write_json(path, deployment)
