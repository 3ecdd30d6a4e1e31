"""model.tar.gz, as SageMaker unpacks it beside the container: a pointer, and the bundle that it names."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

from mlops.bundle import Bundle
from mlops.deployment import Deployed, Deployment

__all__ = ["POINTER", "packed"]

POINTER = "current.json"
"""The pointer's name, in a home's folder `deployments` and in the archive."""


def packed(deployment: Deployment, bundle: Bundle) -> bytes:
    """A pointer to the champion and its bundle beside it; the same bytes for the same bundle."""
    champion = deployment.champion
    uri = f"bundles/{bundle.digest}"
    moved = Deployed(
        version=champion.version,
        candidate=champion.candidate,
        framework=champion.framework,
        uri=uri,
        digest=bundle.digest,
    )
    pointer = json.dumps(
        {"name": deployment.name, "champion": {f: getattr(moved, f) for f in moved.__struct_fields__}}
    )
    archive = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=archive, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        _add(tar, POINTER, pointer.encode())
        for path in sorted(bundle.path.iterdir()):
            _add(tar, f"{uri}/{path.name}", path.read_bytes())
    return archive.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))
