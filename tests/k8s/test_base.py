"""The Kustomize base of the serving deployment: valid, restricted, and calling the server as it wants to be called."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.options import options_of

BASE = Path(__file__).resolve().parents[2] / "k8s" / "base"
KUBERNETES = "1.34"


def load(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


FILES = sorted(path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml")


def pod() -> dict[str, Any]:
    (deployment,) = load(BASE / "deployment.yaml")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_valid_kubernetes(name: str) -> None:
    for resource in load(BASE / name):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    (service,) = load(BASE / "service.yaml")
    service["spec"]["prots"] = service["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, KUBERNETES, strict=True)


def test_the_kustomization_lists_all_files() -> None:
    (kustomization,) = load(BASE / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == FILES


def test_the_pod_meets_the_restricted_profile_which_its_namespace_enforces() -> None:
    (namespace,) = load(BASE / "namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pod()
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(k for k in volume if k != "name") for volume in spec["volumes"]} <= {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
        "secret",
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


def test_the_server_takes_these_arguments_and_finds_its_files_in_volumes() -> None:
    (container,) = pod()["containers"]
    assert container["command"] == ["python", "-m", "serving"]
    options = options_of(container["args"], {})
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    for path, read_only in [
        (options.pointer, True),
        (options.public_key, True),
        (options.keys, True),
        (Path(options.store), False),
        (options.decisions, False),
    ]:
        assert [mounts[str(p)] for p in path.parents if str(p) in mounts] == [read_only]
    assert pod()["enableServiceLinks"] is False  # or a Service named mlops-serving would set options
    assert options.port == container["ports"][0]["containerPort"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.system
def test_what_kubectl_renders_is_valid_and_its_selectors_match() -> None:
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(BASE)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    resources = list(yaml.safe_load_all(rendered))
    for resource in resources:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    by_kind = {resource["kind"]: resource for resource in resources}
    assert set(by_kind) == {"Namespace", "ServiceAccount", "PersistentVolumeClaim", "Deployment", "Service"}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert by_kind["Service"]["spec"]["selector"].items() <= labels
    assert by_kind["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels
    namespaces = {r["metadata"].get("namespace") for r in resources if r["kind"] != "Namespace"}
    assert namespaces == {by_kind["Namespace"]["metadata"]["name"]}
