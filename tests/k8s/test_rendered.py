"""What kubectl renders of k8s/: valid, complete, restricted, and without findings of a linter that is not excused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.k8s.manifests import CUSTOM, K8S, OVERLAYS, containers, of_kind, pods, render

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
KUBERNETES = ("1.30", "1.34", "1.37")  # preStop's sleep came with 1.30
KINDS = {
    "base": "Namespace ServiceAccount ConfigMap PersistentVolumeClaim Deployment Service HorizontalPodAutoscaler "
    "PodDisruptionBudget NetworkPolicy",
    "overlays/local": "StatefulSet",
    "overlays/production": "CronJob HTTPRoute ServiceMonitor PrometheusRule",
}
BY_HAND = {  # docs/kubernetes.md says how each is made; none of it is in the repository
    ("Secret", "online-store"): {"uri", "password"},
    ("Secret", "api-keys"): {"api-keys.json"},
    ("Secret", "mlflow-database"): {"uri", "password"},
    ("Secret", "signing-keys"): {"signing-key.pem", "verify-key.pem"},
    ("Secret", "object-storage"): set(),
    ("ConfigMap", "verify-key"): {"verify-key.pem"},
}

Resource = dict[str, Any]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_valid_kubernetes_in_one_namespace_which_enforces_the_restricted_profile(overlay: str) -> None:
    resources = render(overlay)
    for version in KUBERNETES:
        for resource in resources:
            if not resource["apiVersion"].startswith(CUSTOM):
                kubernetes_validate.validate(resource, version, strict=True)
    kinds = {resource["kind"] for resource in resources}
    assert kinds == set(KINDS["base"].split()) | (set(KINDS[overlay].split()) if overlay != "base" else set())
    (namespace,) = of_kind(resources, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {r["metadata"].get("namespace") for r in resources if r["kind"] != "Namespace"} == {
        namespace["metadata"]["name"]
    }
    names = [(r["kind"], r["metadata"]["name"]) for r in resources]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_pods_meet_the_restricted_profile_and_get_no_token(overlay: str) -> None:
    found = list(pods(render(overlay)))
    assert found
    for name, pod in found:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}, name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"requests", "limits"} <= set(container["resources"]), name
            assert (
                not container["image"].endswith(":latest") and ":" in container["image"]
            ) or overlay == "base"


def test_production_names_every_image_by_digest() -> None:
    images = {c["image"] for _, pod in pods(render("overlays/production")) for c in containers(pod)}
    assert len(images) == 2 and all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images)


def references(pod: Resource) -> set[tuple[str, str]]:
    """What else a pod needs to start: kind and name."""
    spec, found = pod["spec"], set()
    if "serviceAccountName" in spec:
        found.add(("ServiceAccount", spec["serviceAccountName"]))
    for volume in spec["volumes"]:
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            for kind, field, key in (
                ("ConfigMap", "configMap", "name"),
                ("Secret", "secret", "secretName" if "projected" not in volume else "name"),
                ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
            ):
                if field in source:
                    found.add((kind, source[field][key]))
    for container in containers(pod):
        for source in container.get("envFrom", []):
            found |= {
                (kind, source[field]["name"])
                for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef"))
                if field in source
            }
        for variable in container.get("env", []):
            reference = variable["valueFrom"]["secretKeyRef"]
            found.add(("Secret", reference["name"]))
            assert reference["key"] in BY_HAND["Secret", reference["name"]]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_refer_to_is_there_or_is_made_by_hand(overlay: str) -> None:
    resources = render(overlay)
    there = {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
    needed = set().union(*(references(pod) for _, pod in pods(resources)))
    assert needed - there <= set(BY_HAND)
    assert {r for r in there if r[0] in ("ConfigMap", "ServiceAccount", "PersistentVolumeClaim")} <= needed
    page = (K8S.parent / "docs" / "kubernetes.md").read_text()
    for _, name in needed - there:
        assert f" {name} " in page
    for _, pod in pods(resources):
        for container in containers(pod):
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts - {"data"} == {
                volume["name"] for volume in pod["spec"]["volumes"]
            }  # Redis's own claim


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_among_it(overlay: str) -> None:
    resources = render(overlay)
    assert "Secret" not in {resource["kind"] for resource in resources}
    text = yaml.safe_dump_all(resources)
    assert "BEGIN" not in text and "mlk_" not in text


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_the_pods_they_mean(overlay: str) -> None:
    resources = render(overlay)
    by_labels = {name: pod["metadata"]["labels"] for name, pod in pods(resources)}
    serving = by_labels["Deployment serving"]

    def finds(selector: Resource) -> set[str]:
        wanted = selector.get("matchLabels", selector if "matchExpressions" not in selector else {}).items()
        return {name for name, labels in by_labels.items() if wanted <= labels.items()}

    for kind in ("Deployment", "StatefulSet"):
        for resource in resources:
            if resource["kind"] == kind:
                assert finds(resource["spec"]["selector"]) == {f"{kind} {resource['metadata']['name']}"}
    for service in of_kind(resources, "Service"):
        assert len(finds(service["spec"]["selector"])) == 1
    (budget,) = of_kind(resources, "PodDisruptionBudget")
    assert finds(budget["spec"]["selector"]) == {"Deployment serving"}
    (autoscaler,) = of_kind(resources, "HorizontalPodAutoscaler")
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == "serving"
    assert autoscaler["spec"]["minReplicas"] >= 2 > budget["spec"]["maxUnavailable"]
    for policy in of_kind(resources, "NetworkPolicy"):
        assert finds(policy["spec"]["podSelector"]), policy["metadata"]["name"]
    (deployment,) = of_kind(resources, "Deployment", "serving")
    for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"].items() <= serving.items()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_private_key_and_the_stores_of_training_are_not_serving_s(overlay: str) -> None:
    (deployment,) = of_kind(render(overlay), "Deployment", "serving")
    needed = {name for _, name in references(deployment["spec"]["template"])}
    assert not needed & {"signing-keys", "mlflow-database", "object-storage", "home"}


def test_the_gateway_lets_through_what_senders_need_and_nothing_else() -> None:
    (route,) = of_kind(render("overlays/production"), "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    paths = [match["path"]["value"] for match in rule["matches"]]

    def passes(path: str) -> bool:
        return any(path == prefix or path.startswith(prefix + "/") for prefix in paths)

    assert all(
        passes(p)
        for p in (
            *("/v1/score", "/v1/predict", "/v1/labels", "/v1/decisions/x-1", "/v1/model"),
            *("/v2/models/fraud/infer", "/v2/models/fraud/versions/1/infer"),
        )
    )
    inside = [
        "/v1/admin/reload",
        "/metrics",
        "/livez",
        "/readyz",
        "/docs",
        "/",
        "/ping",
        "/health",
        "/version",
    ]
    inside += ["/v2", "/v2/health/live", "/v2/health/ready", "/invocations", "/predict", "/score"]
    assert not any(passes(p) for p in inside)
    (service,) = of_kind(render("overlays/production"), "Service", rule["backendRefs"][0]["name"])
    assert rule["backendRefs"][0]["port"] in [port["port"] for port in service["spec"]["ports"]]


def test_custom_resources_fit_their_schemas_and_types(tmp_path: Path) -> None:
    """By the JSON schemas and types of packages on npm, made from the projects' API definitions."""
    for name in ("package.json", "package-lock.json", "check.mjs"):
        shutil.copy(HERE / "crds" / name, tmp_path)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(install, cwd=tmp_path, timeout=240, check=True)
    custom = [r for r in render("overlays/production") if r["apiVersion"].startswith(CUSTOM)]

    def check(resources: list[Resource]) -> str:
        ran = subprocess.run(
            ["node", "check.mjs"],
            cwd=tmp_path,
            input=json.dumps(resources),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return ran.stdout

    assert {r["kind"] for r in custom} == {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}
    assert check(custom) == ""
    wrong = json.loads(
        json.dumps(custom).replace("scrapeTimeout", "scrapeTimeOut").replace('"port": 80', '"port": 0')
    )
    assert "scrapeTimeOut" in (found := check(wrong)) and "port must be >= 1" in found


def test_promtool_finds_the_operator_s_rules_sound(tmp_path: Path) -> None:
    rules = of_kind(render("overlays/production"), "PrometheusRule")
    assert {rule["metadata"]["name"] for rule in rules} == {"serving", "pipelines"}
    groups = [group for rule in rules for group in rule["spec"]["groups"]]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    ran = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "SUCCESS" in ran.stdout


@pytest.fixture(scope="module")
def checkov(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed from its lock into an environment of its own."""
    folder = tmp_path_factory.mktemp("checkov")
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv is not None
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], timeout=60, check=True)
    lock = HERE / "lock" / "checkov.txt"
    subprocess.run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            folder / "bin" / "python",
            "--require-hashes",
            "-r",
            lock,
        ],
        timeout=280,
        check=True,
    )
    return folder / "bin" / "checkov"


@pytest.mark.parametrize("overlay", OVERLAYS[1:])
def test_a_linter_finds_nothing_that_is_not_excused_with_a_reason(
    overlay: str, checkov: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(render(overlay)))
    command = [checkov, "--file", file, "--framework", "kubernetes", "--output", "json", "--skip-download"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    results = json.loads(ran.stdout)["results"]
    assert len(results["passed_checks"]) > 200
    assert [(c["check_id"], c["resource"]) for c in results["failed_checks"]] == []
    excused = results["skipped_checks"]
    assert excused and all(len(c["check_result"]["suppress_comment"]) > 30 for c in excused)
    # Nothing is excused that is not found: each annotation has its finding.
    annotations = sum(
        key.startswith("checkov.io/skip")
        for resource in render(overlay)
        for key in resource["metadata"].get("annotations", {})
    )
    assert len(excused) == annotations
