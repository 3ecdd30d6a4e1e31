"""Prefect's worker on Kubernetes: a pod as the cron jobs' are, in the place of those whose work its flows do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.cli import cli
from pipelines.commands_prefect import prefect
from tests.k8s.manifests import CUSTOM, K8S, load, of_kind
from tests.k8s.network import Peer, passes

Resource = dict[str, Any]
ITS_FLOWS = {
    "ingest",
    "monitor",
    "retrain",
}  # what docs/prefect.md has by the clock: features, monitor, retrain


def worker() -> Resource:
    (deployment,) = load("components/prefect/worker.yaml")
    spec: Resource = deployment["spec"]
    return spec


def test_its_pod_is_a_cron_job_s_but_for_the_command_and_prefect_s_address() -> None:
    (cron,) = load("components/pipelines/pod.yaml")
    theirs = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    own = worker()["template"]["spec"]
    (container,), (their_container,) = own["containers"], theirs["containers"]
    assert {"secretRef": {"name": "prefect"}} in container["envFrom"]
    container["envFrom"].remove({"secretRef": {"name": "prefect"}})
    assert container.pop("command") == ["mlops", "prefect", "worker", "--wait"]
    assert container == their_container
    theirs.pop("restartPolicy")
    assert own | {"containers": []} == theirs | {"containers": []}
    assert cli.commands["prefect"] is prefect and "worker" in prefect.commands


def test_there_is_never_a_second_one_and_the_next_takes_its_place() -> None:
    spec = worker()
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    (policy,) = load("components/pipelines/network-policy.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    (cron,) = load("components/pipelines/pod.yaml")  # whose pods it must not take for its own
    assert not labels.items() <= cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"].items()


def test_it_reaches_prefect_and_its_stores_and_nothing_else() -> None:
    files = (
        "base/network-policies",
        "components/pipelines/network-policy",
        "components/prefect/network-policy",
    )
    policies = [
        policy | {"metadata": policy["metadata"] | {"namespace": "mlops"}}
        for file in files
        for policy in load(f"{file}.yaml")
    ]
    pod = Peer(namespace="mlops", labels=worker()["template"]["metadata"]["labels"])
    anywhere = Peer(address="10.20.0.5")
    assert [port for port in (443, 4200, 5432, 6379, 8333) if passes(policies, pod, anywhere, port)] == [
        443, 4200, 5432, 6379, 8333,
    ]  # fmt: skip
    assert not passes(policies, pod, anywhere, 80)
    assert not passes(policies, anywhere, pod, 8080)
    cron_job = Peer(namespace="mlops", labels={"app.kubernetes.io/name": "mlops-pipelines"})
    assert not passes(policies, cron_job, anywhere, 4200)


@pytest.mark.system
def test_beside_production_it_takes_the_place_of_the_cron_jobs_that_do_the_same(tmp_path: Path) -> None:
    tree = shutil.copytree(K8S, tmp_path / "k8s")
    file = tree / "overlays" / "production" / "kustomization.yaml"
    said = yaml.safe_load(file.read_text())
    said["components"].append("../../components/prefect")
    file.write_text(yaml.safe_dump(said))
    done = subprocess.run(
        ["kubectl", "kustomize", file.parent], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    for resource in rendered:
        assert resource["kind"] == "Namespace" or resource["metadata"]["namespace"] == "mlops"
        if not resource["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(resource, "1.34", strict=True)
    by_hand = {"train", "promote", "backfill"}
    suspended = {
        cron["metadata"]["name"] for cron in of_kind(rendered, "CronJob") if cron["spec"].get("suspend")
    }
    assert suspended == ITS_FLOWS | by_hand
    (deployment,) = of_kind(rendered, "Deployment", "prefect-worker")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "@sha256:" in container["image"]
    maps = {found["metadata"]["name"] for found in of_kind(rendered, "ConfigMap")}
    assert container["envFrom"][0]["configMapRef"]["name"] in maps
