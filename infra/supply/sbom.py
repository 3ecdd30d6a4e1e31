"""The bill of materials of an image: CycloneDX 1.6, as JSON, the same from the same locks and packages.

    engine=docker                                           # or podman
    $engine run --rm mlops-serving:local cat /var/lib/dpkg/status | .venv/bin/python -m infra.supply.sbom serving -
    .venv/bin/python -m infra.supply.sbom pipeline          # what the locks say, without Debian's packages

In it are the Python packages of the image's locks and, given the image's own list of them, Debian's packages. What
wheels carry inside (C libraries, Spark's and Java's own parts) is not; the document says that it is incomplete.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from typing import Any

from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.supply.licences import ROOT, listed
from mlops.errors import ConfigError

__all__ = ["IMAGES", "sbom", "torch_digest"]

IMAGES = {"serving": ("serving",), "pipeline": ("pipeline", "torch")}
"""By image, the locks that it is installed from."""

ALLOWED_FILE = "mlops:lock:sha256"
"""The property that names the SHA-256 of a file which the lock lets be installed: one for each platform's."""

COVERED = "mlops:covers"
"""The property that says which kinds of packages the document lists."""

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


def sbom(image: str, status: str = "") -> dict[str, Any]:
    """The document for an image: its packages, their licences, and the digests of the files that may be installed.

    Args:
        image: one of `IMAGES`.
        status: the text of its /var/lib/dpkg/status.

    Raises:
        ConfigError: the text is given and is not that.
    """
    licences = listed()
    entries = [entry for lock in IMAGES[image] for entry in _entries(lock) if _installed(entry)]
    components = [_component(entry, licences) for entry in entries] + _debian(status)
    components.sort(key=lambda component: component["bom-ref"])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    root = f"mlops-{image}@{version}"
    covered = "the Python packages of its locks" + (", Debian's packages" if status else "")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": root, "name": f"mlops-{image}", "version": version},
            "properties": [{"name": COVERED, "value": covered}],
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [component["bom-ref"] for component in components]}],
        "compositions": [{"aggregate": "incomplete", "assemblies": [root]}],
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
    digests = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
    if name == "torch":
        version, digests = f"{version}+cpu", [torch_digest()]
    component = _library("pypi", None, name, version) | {"licenses": [_licence(licences[requirement.name])]}
    if len(digests) == 1:
        return component | {"hashes": [{"alg": "SHA-256", "content": digests[0]}]}
    return component | {"properties": [{"name": ALLOWED_FILE, "value": digest} for digest in digests]}


def torch_digest() -> str:
    """That of the wheel for the CPU, which the pipeline image's file names."""
    text = (ROOT / "infra" / "docker" / "pipeline.Dockerfile").read_text()
    (digest,) = re.findall(r"^ARG TORCH_SHA256=([0-9a-f]{64})$", text, re.MULTILINE)
    return digest


def _debian(status: str) -> list[dict[str, Any]]:
    """Debian's packages that are installed, from dpkg's list; `upstream` is the source, whose name advisories use."""
    components = []
    for paragraph in filter(None, re.split(r"\n\n+", status.strip())):
        field = dict(re.findall(r"^([A-Za-z-]+): (.+)$", paragraph, re.MULTILINE))
        if not {"Package", "Status", "Architecture", "Version"} <= field.keys():
            raise _no_status("a paragraph without its package, status, architecture or version")
        if field["Status"] != "install ok installed":
            continue
        source = re.sub(r" \((.+)\)", r"@\1", field.get("Source", field["Package"]))
        about = {"arch": field["Architecture"], "distro": "debian-12", "upstream": source}
        components.append(_library("deb", "debian", field["Package"], field["Version"], about))
    if status and not components:
        raise _no_status("no package that is installed")
    return components


def _no_status(what: str) -> ConfigError:
    return ConfigError(what, where="standard input", todo="pipe the image's /var/lib/dpkg/status into it")


def _library(
    kind: str, whose: str | None, name: str, version: str, about: dict[str, str] | None = None
) -> dict[str, Any]:
    purl = PackageURL(kind, whose, name, version, about).to_string()
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _licence(expression: str) -> dict[str, Any]:
    """CycloneDX knows ids and expressions; one that SPDX does not list goes in as an expression, too."""
    if re.search(r" |LicenseRef", expression):
        return {"expression": expression}
    return {"license": {"id": expression}}


if __name__ == "__main__":
    match sys.argv[1:]:
        case [image] if image in IMAGES:
            document = sbom(image)
        case [image, "-"] if image in IMAGES:
            try:
                document = sbom(image, sys.stdin.buffer.read().decode(errors="replace") or "\n")
            except ConfigError as error:
                sys.exit(f"sbom: {error}")
        case _:
            sys.exit(f"usage: python -m infra.supply.sbom {'|'.join(IMAGES)} [-]")
    json.dump(document, sys.stdout, indent=1)
    print()
