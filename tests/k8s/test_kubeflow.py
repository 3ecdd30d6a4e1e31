"""What the pods of a Kubeflow run may reach in a namespace where nothing is allowed by default."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.kubeflow import COMPILED
from tests.k8s.manifests import K8S, load
from tests.k8s.network import Peer, passes

FILES = ("base/network-policies", "components/pipelines/network-policy", "components/kubeflow/network-policy")
POLICIES = [
    {**policy, "metadata": {**policy["metadata"], "namespace": "mlops"}}  # which the base gives to all
    for file in FILES
    for policy in load(f"{file}.yaml")
]
OF_A_RUN = {"pipelines.kubeflow.org/v2_component": "true"}  # on all pods, by Kubeflow's compiler for Argo


def _labels_of_tasks() -> list[dict[str, str]]:
    _, platform = yaml.safe_load_all(COMPILED.read_text())
    pods: dict[str, Any] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return [pod["podMetadata"]["labels"] for pod in pods.values()]


def _in_kubeflow(**ports: int) -> Peer:
    names = {"kubernetes.io/metadata.name": "kubeflow"}
    return Peer(namespace="kubeflow", namespace_labels=names, labels={}, ports=ports)


STORES = {"redis": 6379, "postgresql": 5432, "object storage": 443}


def test_a_task_reaches_its_stores_and_kubeflow_and_nothing_else() -> None:
    for labels in _labels_of_tasks():
        task = Peer(namespace="mlops", labels=labels | OF_A_RUN)
        for port in (8080, 8887, 8888, 8333, 9000):
            assert passes(POLICIES, task, _in_kubeflow(), port, "TCP")
        assert not passes(POLICIES, task, _in_kubeflow(), 3306, "TCP")
        for port in STORES.values():
            assert passes(POLICIES, task, Peer(address="10.20.0.5"), port, "TCP")
        assert not passes(POLICIES, task, Peer(address="93.184.215.14"), 80, "TCP")


def test_kubeflow_s_own_pods_reach_it_and_the_api_server_and_no_store_of_ours() -> None:
    driver = Peer(namespace="mlops", labels=OF_A_RUN)
    assert passes(POLICIES, driver, _in_kubeflow(), 8887, "TCP")
    assert passes(POLICIES, driver, Peer(address="10.96.0.1"), 6443, "TCP")
    assert not passes(POLICIES, driver, Peer(address="10.20.0.5"), 5432, "TCP")
    assert not passes(POLICIES, Peer(namespace="mlops", labels={}), _in_kubeflow(), 8887, "TCP")


@pytest.mark.system
def test_the_component_is_rendered_with_those_that_it_needs(tmp_path: Path) -> None:
    parts = {
        "resources": [os.path.relpath(K8S / "base", tmp_path)],
        "components": [
            os.path.relpath(K8S / f"components/{name}", tmp_path) for name in ("pipelines", "kubeflow")
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    done = subprocess.run(
        ["kubectl", "kustomize", tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    kinds = {(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(done.stdout)}
    assert {("NetworkPolicy", "kubeflow-runs"), ("NetworkPolicy", "pipelines-to-their-stores")} <= kinds
