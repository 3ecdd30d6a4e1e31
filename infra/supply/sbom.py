"""The bill of materials of an image, from its locks: CycloneDX 1.6, as JSON, the same from the same locks.

    .venv/bin/python -m infra.supply.sbom serving  >mlops-serving.cdx.json
    .venv/bin/python -m infra.supply.sbom pipeline >mlops-pipeline.cdx.json

What Debian's packages are is not in it: the image's own list (/var/lib/dpkg/status) says that, and scanners read it.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.supply.licences import ROOT, listed

__all__ = ["IMAGES", "sbom"]

IMAGES = {"serving": ("serving",), "pipeline": ("pipeline", "torch")}
"""By image, the locks that it is installed from."""

ALLOWED_FILE = "mlops:lock:sha256"
"""The property that names the SHA-256 of a file which the lock lets be installed: one for each platform's."""

TARGET = {
    "extra": "",
    "implementation_name": "cpython",
    "implementation_version": "3.11.2",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""Debian 12's Python, as markers see it."""


def sbom(image: str) -> dict[str, Any]:
    """The document for an image: its packages with licence, and the digests of the files that may be installed."""
    licences = listed()
    components = [
        _component(entry, licences) for lock in IMAGES[image] for entry in _entries(lock) if _installed(entry)
    ]
    components.sort(key=lambda component: component["name"])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    root = f"mlops-{image}@{version}"
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": root, "name": f"mlops-{image}", "version": version}
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return document | {"serialNumber": f"urn:uuid:{number}"}


def _entries(lock: str) -> list[str]:
    """The lock's entries, each on one line."""
    text = (ROOT / "infra" / "lock" / f"{lock}.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]


def _requirement(entry: str) -> Requirement:
    return Requirement(entry.partition(" --hash")[0])


def _installed(entry: str) -> bool:
    marker = _requirement(entry).marker
    return marker is None or marker.evaluate(TARGET)


def _component(entry: str, licences: dict[str, str]) -> dict[str, Any]:
    requirement = _requirement(entry)
    name = canonicalize_name(requirement.name)
    (version,) = (specifier.version for specifier in requirement.specifier)
    purl = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [_licence(licences[requirement.name])],
    }
    digests = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
    if digests:
        component["properties"] = [{"name": ALLOWED_FILE, "value": digest} for digest in digests]
    return component


def _licence(expression: str) -> dict[str, Any]:
    """CycloneDX knows ids and expressions; one that SPDX does not list goes in as an expression, too."""
    if re.search(r" |LicenseRef", expression):
        return {"expression": expression}
    return {"license": {"id": expression}}


if __name__ == "__main__":
    if sys.argv[1:] not in [[image] for image in IMAGES]:
        sys.exit(f"usage: python -m infra.supply.sbom {'|'.join(IMAGES)}")
    json.dump(sbom(sys.argv[1]), sys.stdout, indent=1)
    print()
