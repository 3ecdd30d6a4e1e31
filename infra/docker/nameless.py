"""Take out of a saved image what podman adds from one build to the next.

That is the names of its containers and steps, and the time of a step that it has kept from another build.

    python3 infra/docker/nameless.py BUILT.tar NAMELESS.tar

The layers stay as they are.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile

__all__ = ["nameless"]


def nameless(source: str, target: str) -> str:
    """Write `source`, an archive as `podman save` makes it, to `target`; return the image's id."""
    with tarfile.open(source) as read, tarfile.open(target, "w") as write:
        (manifest,) = json.loads(_text(read, "manifest.json"))
        config = json.loads(_text(read, manifest["Config"]))
        for name in ("container", "container_config", "parent"):
            config.pop(name, None)
        config["config"].pop("Hostname", None)
        for step in config["history"]:
            step.pop("comment", None)
            step["created"] = config["created"]
        data = json.dumps(config, sort_keys=True).encode()
        image = hashlib.sha256(data).hexdigest()
        for layer in manifest["Layers"]:
            member = read.getmember(layer)
            write.addfile(member, None if member.issym() else read.extractfile(member))
        _add(write, f"{image}.json", data)
        _add(write, "manifest.json", json.dumps([manifest | {"Config": f"{image}.json"}]).encode())
    return image


def _text(archive: tarfile.TarFile, name: str) -> bytes:
    found = archive.extractfile(name)
    assert found is not None
    return found.read()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    nameless(*sys.argv[1:])
