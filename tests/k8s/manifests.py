"""What the tests of k8s/ share: its files, and how they are rendered."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CUSTOM", "K8S", "OVERLAYS", "containers", "load", "of_kind", "pods", "render"]

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = ("base", "overlays/local", "overlays/production")
CUSTOM = ("gateway.networking.k8s.io/", "monitoring.coreos.com/")
_OLDEST = (1, 27)  # what it embeds renders components, and labels with includeTemplates

Resource = dict[str, Any]


def load(path: str) -> list[Resource]:
    """The resources of one file of k8s/."""
    return list(yaml.safe_load_all((K8S / path).read_text()))


@cache
def render(folder: str) -> list[Resource]:
    """What `kubectl apply -k` would send."""
    said = subprocess.run(
        ["kubectl", "version", "--client"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    found = re.search(r"v(\d+)\.(\d+)|Major:\"(\d+)\", Minor:\"(\d+)", said)
    assert found is not None, said
    version = tuple(int(part) for part in found.groups() if part)
    assert version >= _OLDEST, f"kubectl {version} is too old: Debian 12's cannot render components"
    ran = subprocess.run(
        ["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))


def of_kind(resources: Sequence[Resource], kind: str, name: str = "") -> list[Resource]:
    """Those of a kind, or the one of a name."""
    found = [r for r in resources if r["kind"] == kind and name in ("", r["metadata"]["name"])]
    assert found
    return found


def pods(resources: Sequence[Resource]) -> Iterator[tuple[str, Resource]]:
    """Each pod template (metadata and spec), with the name of what it is in."""
    for resource in resources:
        spec, name = resource.get("spec", {}), f"{resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] in ("Deployment", "StatefulSet"):
            yield name, spec["template"]
        elif resource["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]


def containers(pod: Resource) -> list[Resource]:
    """All containers of a pod template."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
